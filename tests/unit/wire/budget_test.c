/* Goal:    what the machine and its control groups leave is what may be committed.
 * Method:  made-up /proc and /sys trees.
 * Guards:  src/plat/linux_cgroup.c; auri_memory_budget() in src/wire/commit.c. */
#include "aurt.h"

#include <errno.h>
#include <sys/stat.h>

#include "plat/plat.h"
#include "plat/shm.h"
#include "wire/commit.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static char tree[32];

static void put(const char *path, const char *text)
{
    char whole[256];

    snprintf(whole, sizeof(whole), "%s%s", tree, path);
    for (char *slash = strchr(whole + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        AURT_CHECK(mkdir(whole, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *file = fopen(whole, "we");
    AURT_CHECK(file != NULL);
    fputs(text, file);
    fclose(file);
}

static int make_tree(void **state)
{
    (void)state;
    strcpy(tree, "/tmp/aurt-XXXXXX");
    return mkdtemp(tree) != NULL ? 0 : -1;
}

static int remove_tree(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", tree);
    return system(command);
}

static void the_machine_sets_the_budget(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemTotal:  8000000 kB\nMemFree: 1 kB\nMemAvailable:    1000 kB\n");
    assert_int_equal(aurp_memory_available(tree), 1000 * KIB); /* no groups at all */
    put("/proc/self/cgroup", "0::/\n");
    assert_int_equal(aurp_memory_available(tree), 1000 * KIB); /* groups, none mounted */
}

static void unified_groups_set_the_budget(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemAvailable: 100000000 kB\n");
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/proc/self/mountinfo", "22 1 0:21 / /proc rw - proc proc rw\n"
                                "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cg rw\n");
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.current", "5000\n");
    put("/sys/fs/cgroup/a/memory.max", "900000\n");
    put("/sys/fs/cgroup/a/memory.current", "500000\n");
    assert_int_equal(aurp_memory_available(tree), 400000);
    put("/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_anon 7\ninactive_file 100000\n");
    assert_int_equal(aurp_memory_available(tree), 500000);
    put("/sys/fs/cgroup/a/b/memory.max", "300000\n");
    assert_int_equal(aurp_memory_available(tree), 295000); /* the inner one is tighter */
    put("/sys/fs/cgroup/a/b/memory.current", "300001\n");
    assert_int_equal(aurp_memory_available(tree), 0);

    assert_int_equal(aurp_cpu_quota(tree), UINT32_MAX);
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    assert_int_equal(aurp_cpu_quota(tree), UINT32_MAX);
    put("/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    assert_int_equal(aurp_cpu_quota(tree), 3); /* a part of one counts as one */
    put("/sys/fs/cgroup/a/b/cpu.max", "100000 100000\n");
    assert_int_equal(aurp_cpu_quota(tree), 1);
    put("/sys/fs/cgroup/a/b/cpu.max", "1 100000\n");
    assert_int_equal(aurp_cpu_quota(tree), 1);
}

static void old_groups_set_the_budget(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemAvailable: 100000000 kB\n");
    put("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:hugetlb,memory:/m\n1:name=systemd:/\n0::/\n");
    put("/proc/self/mountinfo",
        "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,hugetlb,memory\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "12345678\n");
    put("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "1000000\n");
    put("/sys/fs/cgroup/memory/m/memory.usage_in_bytes", "600000\n");
    put("/sys/fs/cgroup/memory/m/memory.stat", "inactive_file 5\ntotal_inactive_file 50000\n");
    assert_int_equal(aurp_memory_available(tree), 450000);

    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(aurp_cpu_quota(tree), UINT32_MAX);
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "400000\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
    assert_int_equal(aurp_cpu_quota(tree), 4);
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
    assert_int_equal(aurp_cpu_quota(tree), 2); /* the outer one is tighter */
}

/* In a container the mount shows a part of the hierarchy, or the path means nothing inside. */
static void groups_seen_from_a_container(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemAvailable: 100000000 kB\n");
    put("/proc/self/mountinfo", "31 23 0:28 /pod/box /sys/fs/cgroup rw - cgroup2 cg rw\n");
    put("/sys/fs/cgroup/memory.max", "1000\n");
    put("/sys/fs/cgroup/memory.current", "100\n");
    put("/sys/fs/cgroup/in/memory.max", "500\n");
    put("/sys/fs/cgroup/in/memory.current", "100\n");
    put("/proc/self/cgroup", "0::/pod/box\n");
    assert_int_equal(aurp_memory_available(tree), 900);
    put("/proc/self/cgroup", "0::/pod/box/in\n");
    assert_int_equal(aurp_memory_available(tree), 400);
    put("/sys/fs/cgroup/cpu.max", "150000 50000\n");
    assert_int_equal(aurp_cpu_quota(tree), 3);
    put("/proc/self/cgroup", "0::/pod/boxer\n");
    assert_int_equal(aurp_memory_available(tree), 900);
    put("/proc/self/cgroup", "0::/../../other\n");
    assert_int_equal(aurp_memory_available(tree), 900);
}

static void the_real_budget_is_plausible(void **state)
{
    (void)state;
    uint64_t available = aurp_memory_available("");

    assert_true(available <= aurp_memory_total());
    assert_true(aur_memory_available() <= aurp_memory_total());
    assert_true(auri_memory_budget() < aurp_memory_total());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_machine_sets_the_budget, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(unified_groups_set_the_budget, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(old_groups_set_the_budget, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(groups_seen_from_a_container, make_tree, remove_tree),
        cmocka_unit_test(the_real_budget_is_plausible),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
