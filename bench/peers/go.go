// peer-go WORKLOAD [NAME=VALUE]...: by goroutines.  bench/README.md says what is printed.
//
// submit hands functions to workers through a channel, which is how pools are written in Go; inside
// starts one goroutine a task.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func optionText(name, fallback string) string {
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, name+"=") {
			return a[len(name)+1:]
		}
	}
	return fallback
}

func option(name string, fallback int) int {
	value, err := strconv.Atoi(optionText(name, strconv.Itoa(fallback)))
	check(err == nil, "option "+name)
	return value
}

func check(right bool, what string) {
	if !right {
		fmt.Fprintln(os.Stderr, "bench:", what, "failed")
		os.Exit(1)
	}
}

func figure(name, unit string, value float64) {
	fmt.Printf("{\"name\": %q, \"unit\": %q, \"value\": %g}\n", name, unit, value)
}

func figureAt(name, unit string, value float64, at string, x int) {
	fmt.Printf("{\"name\": %q, %q: %d, \"unit\": %q, \"value\": %g}\n", name, at, x, unit, value)
}

func perTask(start time.Time, n int) float64 {
	return float64(time.Since(start).Nanoseconds()) / float64(n)
}

// A pool as Go programs write it: workers that read functions from a channel.
type pool struct {
	tasks chan func()
	done  sync.WaitGroup
}

func newPool(workers int) *pool {
	p := &pool{tasks: make(chan func(), 1024)}
	p.done.Add(workers)
	for i := 0; i < workers; i++ {
		go func() {
			for task := range p.tasks {
				task()
			}
			p.done.Done()
		}()
	}
	return p
}

func (p *pool) submit(n int) {
	for i := 0; i < n; i++ {
		p.tasks <- func() {}
	}
}

func (p *pool) finish() {
	close(p.tasks)
	p.done.Wait()
}

func submit(workers, n int) {
	var ns float64
	for _, tasks := range []int{n / 100, n} { // the first warms up
		p := newPool(workers)
		start := time.Now()
		p.submit(tasks)
		p.finish()
		ns = perTask(start, tasks)
	}
	figure("empty task", "ns", ns)
}

func inside(n int) {
	var ns float64
	for _, tasks := range []int{n / 100, n} {
		var all sync.WaitGroup
		all.Add(tasks)
		start := time.Now()
		for i := 0; i < tasks; i++ {
			go all.Done()
		}
		all.Wait()
		ns = perTask(start, tasks)
	}
	figure("empty task", "ns", ns)
}

func futures(workers, n int) {
	p := newPool(workers)
	all := make([]chan int, n)
	start := time.Now()
	for i := range all {
		i, result := i, make(chan int, 1)
		all[i] = result
		p.tasks <- func() { result <- i + 1 }
	}
	for i, result := range all {
		check(<-result == i+1, "result")
	}
	figure("task with future", "ns", perTask(start, n))
	p.finish()
}

func trips(state string, p *pool, n int, pause time.Duration) {
	us := make([]float64, 0, n+n/10)
	for i := 0; i < n+n/10; i++ { // the first tenth warms up
		time.Sleep(pause)
		start := time.Now()
		result := make(chan int, 1)
		p.tasks <- func() { result <- 2 }
		check(<-result == 2, "result")
		us = append(us, float64(time.Since(start).Nanoseconds())/1e3)
	}
	us = us[len(us)-n:]
	sort.Float64s(us)
	figure(state+" p50", "us", us[(n-1)*50/100])
	figure(state+" p99", "us", us[(n-1)*99/100])
}

func roundTrips(workers int, idle string) {
	p := newPool(workers)
	trips("hot", p, option("trips", 20000), 0)
	trips(idle, p, option("idle_trips", 300), time.Millisecond)
	p.finish()
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	left := make(chan int, 1)
	go func() { left <- fib(n - 1) }()
	right := fib(n - 2)
	return <-left + right
}

func fibPlain(n int) int {
	a, b := 0, 1
	for ; n > 0; n-- {
		a, b = b, a+b
	}
	return a
}

func forkJoin(n int) {
	fib(n - 7) // warms up
	start := time.Now()
	value := fib(n)
	figure("spawn", "ns", perTask(start, fibPlain(n+1)-1))
	check(value == fibPlain(n), "fib")
}

func peakMemory() float64 {
	status, err := os.Open("/proc/self/status")
	check(err == nil, "/proc/self/status")
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); fields[0] == "VmHWM:" {
			kib, _ := strconv.ParseFloat(fields[1], 64)
			return kib * 1024 / 1e6
		}
	}
	return 0
}

// sleepAll blocks in system calls: time.Sleep would block no thread.
func sleepAll(tasks, ms int) {
	var all sync.WaitGroup
	all.Add(tasks)
	start := time.Now()
	for i := 0; i < tasks; i++ {
		go func() {
			pause := syscall.NsecToTimespec(int64(ms) * 1e6)
			syscall.Nanosleep(&pause, nil)
			all.Done()
		}()
	}
	all.Wait()
	figure("all done", "ms", float64(time.Since(start).Nanoseconds())/1e6)
	figure("peak memory", "MB", peakMemory())
}

func growthPoint(workers, n, submitters, repeats int) float64 {
	var ns []float64
	for r := 0; r < repeats; r++ {
		p := newPool(workers)
		var all sync.WaitGroup
		all.Add(submitters)
		start := time.Now()
		for i := 0; i < submitters; i++ {
			go func() {
				p.submit(n / submitters)
				all.Done()
			}()
		}
		all.Wait()
		p.finish()
		ns = append(ns, perTask(start, n))
	}
	sort.Float64s(ns)
	return ns[len(ns)/2]
}

func growth(workers, n, most int) {
	for tasks := 1000; tasks <= most; tasks *= 10 {
		repeats := 1
		if tasks <= 100000 {
			repeats = 9
		}
		figureAt("by tasks", "ns", growthPoint(workers, tasks, 1, repeats), "tasks", tasks)
	}
	for w := 2; w <= 64; w *= 2 {
		figureAt("by workers", "ns", growthPoint(w, n, 1, 5), "workers", w)
	}
	for s := 1; s <= 8; s *= 2 {
		figureAt("by submitters", "ns", growthPoint(workers, n, s, 5), "submitters", s)
	}
}

func main() {
	workload := ""
	if len(os.Args) > 1 {
		workload = os.Args[1]
	}
	workers := option("workers", 2)
	runtime.GOMAXPROCS(workers)
	switch workload {
	case "submit":
		submit(workers, option("n", 1000000))
	case "inside":
		inside(option("n", 1000000))
	case "futures":
		futures(workers, option("n", 1000000))
	case "roundtrip":
		roundTrips(workers, "idle")
	case "handoff":
		roundTrips(workers, "parked")
	case "forkjoin":
		forkJoin(option("n", 25))
	case "sleep":
		sleepAll(option("tasks", 64), option("ms", 50))
	case "growth":
		growth(workers, option("n", 1000000), option("most", 10000000))
	default:
		os.Exit(77)
	}
}
