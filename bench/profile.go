package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
	"runtime/metrics"
	rtpprof "runtime/pprof"
	"runtime/trace"
	"time"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/flame"
	"github.com/ron-transport/ron-transport/bench/internal/load"
)

// Rates of the profiles that cost something while they are on.
const (
	blockRate     = 10_000 // nanoseconds blocked per sample, on the average
	mutexFraction = 10     // one of so many contended unlocks
	debugTimeout  = 10 * time.Second
)

// profiles are the flags that say what is recorded of a server or client while it runs.
type profiles struct {
	cpu, flame, heap, block, mutex, trace string // files; "": not
	debug                                 string // address of the live listener; "": none
}

func (p *profiles) register(f *pflag.FlagSet) {
	f.StringVar(&p.cpu, "cpu-profile", "", "write a CPU profile (pprof) to this file")
	f.StringVar(&p.flame, "flame", "", "write a flame graph of the CPU time (SVG) to this file")
	f.StringVar(&p.heap, "heap-profile", "", "write a heap profile (pprof), allocations included, to this file at the end")
	f.StringVar(&p.block, "block-profile", "", "write a profile of blocked goroutines (pprof) to this file")
	f.StringVar(&p.mutex, "mutex-profile", "", "write a profile of contended locks (pprof) to this file")
	f.StringVar(&p.trace, "trace", "", "write a trace of the scheduler (go tool trace) to this file, and tell how long goroutines waited to run")
	f.StringVar(&p.debug, "debug-listen", "", "serve net/http/pprof on this loopback address, host:port, while running")
}

func (p *profiles) validate() error {
	if p.debug == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(p.debug)
	if err != nil || !isLoopback(host) {
		return &load.FlagError{Flag: "debug-listen", Value: fmt.Sprintf("%q", p.debug), Allowed: "a loopback address, as 127.0.0.1:6060: profiles are for nobody else"}
	}
	return nil
}

// recording is what runs between profiles.start and its stop.
type recording struct {
	p     *profiles
	a     *app
	cpu   bytes.Buffer
	trace *os.File
	waits *metrics.Float64Histogram // until the start
	srv   *http.Server
}

// start begins to record. stop writes the files.
func (p *profiles) start(a *app) (r *recording, err error) {
	r = &recording{p: p, a: a}
	if p.debug != "" {
		if err := r.listen(); err != nil {
			return nil, err
		}
	}
	if p.block != "" {
		runtime.SetBlockProfileRate(blockRate)
	}
	if p.mutex != "" {
		runtime.SetMutexProfileFraction(mutexFraction)
	}
	if p.trace != "" {
		r.waits = schedWaits()
		if r.trace, err = os.Create(p.trace); err == nil {
			err = trace.Start(r.trace)
		}
		if err != nil {
			return nil, usage(fmt.Errorf("--trace: %w", err))
		}
	}
	if p.cpu != "" || p.flame != "" {
		if err := rtpprof.StartCPUProfile(&r.cpu); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// listen serves the live profiles.
func (r *recording) listen() error {
	lis, err := net.Listen("tcp", r.p.debug)
	if err != nil {
		return usage(fmt.Errorf("--debug-listen: %w", err))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	r.srv = &http.Server{Handler: mux, ReadHeaderTimeout: debugTimeout}
	go func() { _ = r.srv.Serve(lis) }() // ends with stop
	fmt.Fprintf(r.a.stderr, "profiles at http://%s/debug/pprof/\n", lis.Addr())
	return nil
}

// stop ends the recording and writes what was asked for.
func (r *recording) stop() error {
	var errs []error
	if r.srv != nil {
		ctx, cancel := context.WithTimeout(context.Background(), debugTimeout)
		defer cancel()
		if err := r.srv.Shutdown(ctx); err != nil {
			errs = append(errs, r.srv.Close())
		}
	}
	if r.p.cpu != "" || r.p.flame != "" {
		rtpprof.StopCPUProfile()
		errs = append(errs, r.writeCPU())
	}
	if r.trace != nil {
		trace.Stop()
		errs = append(errs, r.trace.Close())
		r.tellWaits()
	}
	for _, f := range []struct{ path, name, flag string }{
		{r.p.heap, "allocs", "heap-profile"}, {r.p.block, "block", "block-profile"}, {r.p.mutex, "mutex", "mutex-profile"},
	} {
		if f.path == "" {
			continue
		}
		if f.name == "allocs" {
			runtime.GC() // the profile is as of the last collection
		}
		var b bytes.Buffer
		err := rtpprof.Lookup(f.name).WriteTo(&b, 0)
		if err == nil {
			err = os.WriteFile(f.path, b.Bytes(), 0o644)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", f.flag, err))
		}
	}
	return errors.Join(errs...)
}

// writeCPU writes the CPU profile, and its picture.
func (r *recording) writeCPU() error {
	var errs []error
	if r.p.cpu != "" {
		errs = append(errs, os.WriteFile(r.p.cpu, r.cpu.Bytes(), 0o644))
	}
	if r.p.flame != "" {
		var svg bytes.Buffer
		err := flame.Draw(&svg, bytes.NewReader(r.cpu.Bytes()), commandName(r.a.argv))
		if err == nil {
			err = os.WriteFile(r.p.flame, svg.Bytes(), 0o644)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--flame: %w", err))
		}
	}
	return errors.Join(errs...)
}

// commandName is the command of a command line.
func commandName(argv []string) string {
	if len(argv) > 1 {
		return argv[1]
	}
	return "ronbench"
}

// schedWaits is the runtime's count of how long goroutines waited to run.
func schedWaits() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64Histogram()
}

// tellWaits says how long goroutines waited to run while the trace was taken: where that is long, the loops have stalled.
func (r *recording) tellWaits() {
	now := schedWaits()
	counts := make([]uint64, len(now.Counts))
	for i := range counts {
		counts[i] = now.Counts[i] - r.waits.Counts[i]
	}
	fmt.Fprintf(r.a.stderr, "goroutines waited to run: half of the times up to %v, 99 %% up to %v, at most %v\n",
		quantile(now.Buckets, counts, 0.5), quantile(now.Buckets, counts, 0.99), quantile(now.Buckets, counts, 1))
}

// quantile is the upper bound of the bucket in which the share q of the counts is reached. bounds are seconds, one more than counts.
func quantile(bounds []float64, counts []uint64, q float64) time.Duration {
	total := uint64(0)
	for _, n := range counts {
		total += n
	}
	want := uint64(math.Ceil(q * float64(total)))
	seen := uint64(0)
	for i, n := range counts {
		if seen += n; n > 0 && seen >= want {
			upper := bounds[i+1]
			if math.IsInf(upper, 1) {
				upper = bounds[i]
			}
			return time.Duration(upper * float64(time.Second)).Round(10 * time.Nanosecond)
		}
	}
	return 0
}
