"""Memory of large arrays: their receiver's own, and the last block that was freed is there for the next."""

import array
import unittest

import auriga
import work
from support import WATCHED, Case, run_program

SIZE = 40 << 20  # an odd one, so that nobody else has a mapping of it


def doubles(size=SIZE):
    return memoryview(array.array("d", bytes(size)))


def kept_blocks(_=None):
    """(start, KiB of contents that matter) of mappings of SIZE that a fork would not copy."""
    found = []
    with open("/proc/self/smaps") as file:
        for line in file:
            first, *rest = line.split()
            if "-" in first:
                low, high = (int(number, 16) for number in first.split("-"))
                is_one = high - low == SIZE and len(rest) == 4  # it has no name
            elif first == "Private_Dirty:":
                dirty = int(rest[0])
            elif first == "VmFlags:" and is_one and "dc" in rest:
                found.append((low, dirty))
    return found


def held_at(index):
    return held[index]


def address(view):
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(view))


VAST = """
import auriga, mmap, os, sys, tempfile

with open("/proc/self/oom_score_adj", "w") as file:
    file.write("1000")  # if the test fails, it is this program that is killed

def content(file):
    return memoryview(mmap.mmap(file, 1 << 42, prot=mmap.PROT_READ))

if __name__ == "__main__":
    with tempfile.TemporaryFile() as file, auriga.Pool(1) as pool:
        os.ftruncate(file.fileno(), 1 << 42)  # has a size, but takes no place
        data = content(file.fileno())
        for call in (
            lambda: pool.apply(len, (data,)),
            lambda: pool.map(len, [data, data], 2),
            lambda: pool.apply(content, (file.fileno(),)),
            lambda: pool.map(content, [file.fileno()] * 2, 2),
        ):
            try:
                call()
            except MemoryError as error:
                print(error)
        print(pool.apply(len, ("pool",)))
"""


class Blocks(Case):
    def test_it_is_the_receivers_own(self):
        sent = doubles()
        with auriga.Pool(1) as pool:
            first, second = pool.apply(work.same, (sent,)), pool.apply(work.same, (sent,))
            self.assertEqual((type(first.obj).__name__, first.readonly), ("Block", False))
            first[-1] = 5.0
            self.assertEqual((first[-1], second[-1], sent[-1]), (5.0, 0.0, 0.0))
            del first
            third = pool.apply(work.same, (sent,))
            self.assertEqual(third, sent)  # of another's memory nothing is left in it
            self.assertEqual(second, sent)

    def test_the_last_one_is_kept_until_a_pool_ends(self):
        with auriga.Pool(1) as pool:
            got = [pool.apply(work.same, (doubles(),)) for _ in range(2)]
            places = [address(view.cast("B")) for view in got]
            self.assertEqual(kept_blocks(), [])
            got.reverse()
            del got[:]
            [(kept, dirty)] = kept_blocks()
            self.assertIn(kept, places)
            self.assertLess(dirty, SIZE >> 11, "the kernel may take it")
            got = pool.apply(work.same, (doubles(),))
            self.assertEqual((address(got.cast("B")), kept_blocks()), (kept, []))
            del got
            self.assertEqual(len(kept_blocks()), 1)
        pool.join()
        self.assertEqual(kept_blocks(), [])

    def test_a_fork_does_not_copy_it(self):
        with auriga.Pool(1) as pool:
            pool.apply(work.same, (doubles(),))
            self.assertEqual(len(kept_blocks()), 1)
            with auriga.Pool(1) as other:
                self.assertEqual(other.apply(kept_blocks), [])
                self.assertEqual(other.apply(work.same, (doubles(),)), doubles())
                self.assertEqual(len(other.apply(kept_blocks)), 1)

    def test_a_fork_copies_one_that_is_used_again(self):
        global held
        self.addCleanup(globals().pop, "held")
        with auriga.Pool(1) as pool:
            held = pool.apply(work.same, (doubles(),))
            place = address(held.cast("B"))
            del held
            held = pool.apply(work.same, (doubles(),))
            self.assertEqual(address(held.cast("B")), place)
            held[7] = 7.0
            with auriga.Pool(1) as other:
                self.assertEqual(other.apply(held_at, (7,)), 7.0)

    @unittest.skipIf(WATCHED, "its addresses count, too")
    def test_it_does_not_count_where_memory_is_limited(self):
        with auriga.Pool(1, memory_max=1 << 30) as pool:
            pool.apply(work.same, (doubles(),))
            self.assertEqual(pool.apply(kept_blocks), [])
        with open("/proc/self/status") as file:
            [mine] = [int(line.split()[1]) << 10 for line in file if line.startswith("VmData")]
        with auriga.Pool(1, memory_max=mine + SIZE // 2) as pool:
            self.assertRaises(MemoryError, pool.apply, len, (doubles(),))
            self.assertEqual(pool.apply(work.add, (1,)), 3)

    def test_one_of_another_size(self):
        with auriga.Pool(1) as pool:
            for size in (SIZE, SIZE * 3, SIZE * 2, SIZE // 2, SIZE, 32 << 20):
                sent = doubles(size)
                self.assertEqual(pool.apply(work.same, (sent,)), sent)

    def test_a_bytearray_stays_one(self):
        sent = memoryview(bytearray(SIZE))
        with auriga.Pool(1) as pool:
            self.assertIs(type(pool.apply(work.same, (sent,)).obj), bytearray)
            got = pool.apply(work.same, (doubles(1 << 20),))
            self.assertIs(type(got.obj), bytearray)  # a small one

    def test_what_is_larger_than_the_memory(self):
        status, out, err = run_program(VAST)
        self.assertEqual(status, 0, err)
        said = out.splitlines()
        self.assertEqual(len(said), 5)
        for line in said[2:4]:
            self.assertRegex(line, r"no memory for a result of 43980465\d+ bytes: .* have \d+ left$")
        for line in said[:2]:
            self.assertRegex(line, r"no memory for an argument of 4398046511104 bytes: .* have \d+ left$")
        self.assertEqual(said[4], "4")
