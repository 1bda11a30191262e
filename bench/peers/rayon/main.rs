//! peer-rayon WORKLOAD [NAME=VALUE]...: by Rayon.  bench/README.md says what is printed.

use rayon::prelude::*;
use std::ffi::{c_void, CString};
use std::os::raw::{c_char, c_int};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

fn option_text(name: &str) -> Option<String> {
    let start = format!("{}=", name);
    std::env::args().find_map(|a| a.strip_prefix(&start).map(str::to_string))
}

fn option(name: &str, fallback: u64) -> u64 {
    option_text(name).and_then(|t| t.parse().ok()).unwrap_or(fallback)
}

fn figure(name: &str, unit: &str, value: f64) {
    println!("{{\"name\": \"{}\", \"unit\": \"{}\", \"value\": {}}}", name, unit, value);
}

fn figure_at(name: &str, unit: &str, value: f64, at: &str, x: u64) {
    println!(
        "{{\"name\": \"{}\", \"{}\": {}, \"unit\": \"{}\", \"value\": {}}}",
        name, at, x, unit, value
    );
}

fn check(right: bool, what: &str) {
    if !right {
        eprintln!("bench: {} failed", what);
        std::process::exit(1);
    }
}

fn pool_of(workers: u64) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(workers as usize).build().expect("pool")
}

fn percentile(ns: &mut [u64], percent: usize) -> u64 {
    ns.sort_unstable();
    ns[(ns.len() - 1) * percent / 100]
}

// ---- tasks -----------------------------------------------------------------------------------

/// n empty tasks from outside, counted down.
fn spawn_all(pool: &rayon::ThreadPool, n: u64, left: &Arc<AtomicU64>, done: &mpsc::Sender<()>) {
    for _ in 0..n {
        let (left, done) = (left.clone(), done.clone());
        pool.spawn(move || {
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                done.send(()).unwrap();
            }
        });
    }
}

fn submit(pool: &rayon::ThreadPool, n: u64) -> f64 {
    let (sender, receiver) = mpsc::channel();
    let start = Instant::now();
    let left = Arc::new(AtomicU64::new(n));
    spawn_all(pool, n, &left, &sender);
    receiver.recv().unwrap();
    start.elapsed().as_nanos() as f64 / n as f64
}

fn futures(pool: &rayon::ThreadPool, n: u64) {
    let mut all = Vec::with_capacity(n as usize);
    let start = Instant::now();
    for i in 0..n {
        let (sender, receiver) = mpsc::sync_channel(1);
        pool.spawn(move || sender.send(i + 1).unwrap());
        all.push(receiver);
    }
    for (i, receiver) in all.into_iter().enumerate() {
        check(receiver.recv().unwrap() == i as u64 + 1, "result");
    }
    figure("task with future", "ns", start.elapsed().as_nanos() as f64 / n as f64);
}

fn inside(pool: &rayon::ThreadPool, n: u64) {
    let mut ns = 0.0;
    for tasks in [n / 100, n] {
        // the first warms up
        let start = Instant::now();
        pool.scope(|s| {
            for _ in 0..tasks {
                s.spawn(|_| {});
            }
        });
        ns = start.elapsed().as_nanos() as f64 / tasks as f64;
    }
    figure("empty task", "ns", ns);
}

fn trips(state: &str, n: u64, pause: Duration, trip: &dyn Fn()) {
    let mut ns = vec![0u64; n as usize];
    for i in 0..n + n / 10 {
        // the first tenth warms up
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let start = Instant::now();
        trip();
        ns[(i % n) as usize] = start.elapsed().as_nanos() as u64;
    }
    figure(&format!("{} p50", state), "us", percentile(&mut ns, 50) as f64 / 1e3);
    figure(&format!("{} p99", state), "us", percentile(&mut ns, 99) as f64 / 1e3);
}

/// Rayon's waiters outside the pool cannot run what they wait for, so this is a hand-off always.
fn round_trips(pool: &rayon::ThreadPool, idle: &str) {
    let trip = || {
        let mut value = 1;
        pool.install(|| value += 1);
        check(value == 2, "result");
    };
    trips("hot", option("trips", 20000), Duration::ZERO, &trip);
    trips(idle, option("idle_trips", 300), Duration::from_millis(1), &trip);
}

fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = rayon::join(|| fib(n - 1), || fib(n - 2));
    a + b
}

fn fib_plain(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

fn forkjoin(pool: &rayon::ThreadPool, n: u64) {
    pool.install(|| fib(n - 7)); // warms up
    let start = Instant::now();
    let value = pool.install(|| fib(n));
    let spawns = fib_plain(n + 1) - 1;
    figure("spawn", "ns", start.elapsed().as_nanos() as f64 / spawns as f64);
    check(value == fib_plain(n), "fib");
}

fn sleep_all(pool: &rayon::ThreadPool) {
    let pause = Duration::from_millis(option("ms", 50));
    let count = AtomicU64::new(0);
    let start = Instant::now();
    pool.in_place_scope(|s| {
        for _ in 0..option("tasks", 64) {
            s.spawn(|_| {
                std::thread::sleep(pause);
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    check(count.into_inner() == option("tasks", 64), "number of tasks done");
    figure("all done", "ms", start.elapsed().as_secs_f64() * 1e3);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    let kib: f64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    figure("peak memory", "MB", kib * 1024.0 / 1e6);
}

/// n tasks from so many threads; ns per task.
fn growth_point(workers: u64, n: u64, submitters: u64, repeats: usize) -> f64 {
    let mut ns: Vec<u64> = Vec::new();
    for _ in 0..repeats {
        let pool = pool_of(workers);
        submit(&pool, 1);
        let (sender, receiver) = mpsc::channel();
        let start = Instant::now();
        let left = Arc::new(AtomicU64::new(n / submitters * submitters));
        std::thread::scope(|s| {
            for _ in 1..submitters {
                let (left, sender, pool) = (&left, sender.clone(), &pool);
                s.spawn(move || spawn_all(pool, n / submitters, left, &sender));
            }
            spawn_all(&pool, n / submitters, &left, &sender);
        });
        receiver.recv().unwrap();
        ns.push(start.elapsed().as_nanos() as u64);
    }
    percentile(&mut ns, 50) as f64 / n as f64
}

fn growth(workers: u64) {
    let (n, most) = (option("n", 1000000), option("most", 10000000));
    let mut tasks = 1000;
    while tasks <= most {
        let repeats = if tasks <= 100000 { 9 } else { 1 };
        figure_at("by tasks", "ns", growth_point(workers, tasks, 1, repeats), "tasks", tasks);
        tasks *= 10;
    }
    for w in [2, 4, 8, 16, 32, 64] {
        figure_at("by workers", "ns", growth_point(w, n, 1, 5), "workers", w);
    }
    for s in [1, 2, 4, 8] {
        figure_at("by submitters", "ns", growth_point(workers, n, s, 5), "submitters", s);
    }
}

// ---- loops: measured by the C headers, over the same memory -----------------------------------

/// struct loop of bench/loops.h.
#[repr(C)]
pub struct Loop {
    kind: u32,
    n: usize,
    steps: u64,
    costs: *const u64,
    input: *const u64,
    output: *mut u64,
    x: *const f64,
    y: *mut f64,
}

type LoopFn = extern "C" fn(*mut c_void, &Loop);

extern "C" {
    /// bench/peers/rayon/loops.c
    fn bench_loops(argc: c_int, argv: *const *const c_char, run: LoopFn, ctx: *mut c_void) -> c_int;
}

#[inline(always)]
fn chain(mut x: u64, steps: u64) -> u64 {
    for _ in 0..steps {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1);
        // SAFETY: the assembly is empty; it stops the compiler from folding steps.
        unsafe { std::arch::asm!("/* {0} */", inout(reg) x, options(nomem, nostack, pure)) };
    }
    x
}

/// What loop_range() does, as parallel iterators.
extern "C" fn run_loop(_ctx: *mut c_void, l: &Loop) {
    use std::slice::{from_raw_parts, from_raw_parts_mut};
    // SAFETY: the driver gives arrays of n elements for the members that the kind uses.
    unsafe {
        match l.kind {
            0 => {
                let out = from_raw_parts_mut(l.output, l.n);
                let input = from_raw_parts(l.input, l.n);
                let steps = l.steps;
                out.par_iter_mut().zip(input).for_each(|(o, i)| *o = chain(*i, steps));
            }
            1 => {
                let out = from_raw_parts_mut(l.output, l.n);
                let input = from_raw_parts(l.input, l.n);
                let costs = from_raw_parts(l.costs, l.n);
                out.par_iter_mut().zip(input).zip(costs).for_each(|((o, i), c)| *o = chain(*i, *c));
            }
            _ => {
                let (y, x) = (from_raw_parts_mut(l.y, l.n), from_raw_parts(l.x, l.n));
                y.par_iter_mut().zip(x).for_each(|(y, x)| *y = x * x + 1.0);
            }
        }
    }
}

/// Inside the pool, so that the calling thread is one of the workers, as with the other peers.
fn loops(workers: u64) -> i32 {
    let arguments: Vec<CString> = std::env::args().map(|a| CString::new(a).unwrap()).collect();
    let pool = pool_of(workers);
    pool.install(|| {
        let pointers: Vec<*const c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
        // SAFETY: argc and argv as C has them; run_loop keeps to the contract of loop_fn.
        unsafe {
            bench_loops(pointers.len() as c_int, pointers.as_ptr(), run_loop, std::ptr::null_mut())
        }
    })
}

fn main() {
    let workload = std::env::args().nth(1).unwrap_or_default();
    let workers = option("workers", 2);
    if ["granularity", "skew", "memory"].contains(&workload.as_str()) {
        std::process::exit(loops(workers));
    }
    let n = option("n", if workload == "forkjoin" { 32 } else { 1000000 });
    let pool = pool_of(workers);
    match workload.as_str() {
        "submit" => {
            submit(&pool, n / 100);
            figure("empty task", "ns", submit(&pool, n));
        }
        "futures" => futures(&pool, n),
        "inside" => inside(&pool, n),
        "roundtrip" => round_trips(&pool, "idle"),
        "handoff" => round_trips(&pool, "parked"),
        "forkjoin" => forkjoin(&pool, n),
        "sleep" => sleep_all(&pool),
        "growth" => growth(workers),
        _ => std::process::exit(77),
    }
}
