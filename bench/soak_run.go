package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/governor"
	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
	"github.com/ron-transport/ron-transport/bench/internal/soak"
)

// Figures of a soak.
const (
	firstRate = 1000.0 // requests per second, when nothing is known yet
	leastRate = 40.0   // so that every lane has some
	savePause = time.Minute
	// crowdSize is two of each hostile kind: light chaos, which costs no processor to speak of.
	crowdSize  = 12
	crowdAgain = 2 * time.Second
	crowdDrip  = time.Second
	resetEvery = time.Second
	// restWait is how long a server may take to see that all connections have ended, on a slow and busy machine too.
	restWait = 30 * time.Second
	restPoll = 50 * time.Millisecond
)

// soakRun is a segment of a soak: from a start of its servers to their end.
type soakRun struct {
	a       *app
	o       *soakOptions
	servers *soakServers
	gov     *governor.Governor
	began   time.Time
	base    float64 // seconds of the segments before

	crowd  *hostile.Crowd             // nil without chaos
	resets map[string]*hostile.Resets // by transport
	harmed map[string]uint64          // by transport: connections of the chaos in this segment; counted when it ends, as those that servers saw fail
	before soak.State                 // what was counted in the segments before
	vitals map[string]vitals

	mu    sync.Mutex // guards what follows; lanes count, the controller samples
	state *soak.State
}

// elapsed is the time of the run, pauses left out, in seconds.
func (s *soakRun) elapsed() float64 { return s.base + time.Since(s.began).Seconds() }

// soak is the command.
func (a *app) soak(ctx context.Context, o *soakOptions) (err error) {
	if _, err := proc.RaiseFDLimit(4*o.Conns + spareFDs); err != nil {
		return usage(fmt.Errorf("--conns: %w", err))
	}
	r, err := report.New(report.KindSoak, a.argv)
	if err != nil {
		return err
	}
	s := &soakRun{a: a, o: o, state: o.state, vitals: make(map[string]vitals)}
	if s.state == nil {
		s.state = soak.New(o.Config, time.Now())
		s.state.Rate = firstRate
	}
	if s.gov, err = governor.New(governor.Config{Low: o.CPULow, High: o.CPUHigh, Min: leastRate, Max: sched.MaxRPS}, s.state.Rate); err != nil {
		return err
	}
	if err := s.save(); err != nil { // before hours are spent: a place that cannot be written to is told now
		return usage(fmt.Errorf("--checkpoint: %w", err))
	}
	if s.servers, err = a.startSoakServers(ctx, o); err != nil {
		return err
	}
	s.state.Config.Tor = o.Tor // known now
	err = s.run(ctx)
	r.Interrupted = ctx.Err() != nil && s.state.Left() > 0
	err = errors.Join(err, s.servers.close(r, s), s.save())
	r.Soak = s.report()
	if err != nil { // what hours have shown is told all the same
		r.Soak.Broken = err.Error()
	}
	t := a.targets(r)
	r.SLOTargets, r.SLO = t.Ref, report.JudgeSoak(r.Soak, t)
	if r.Interrupted && o.checkpoint != "" {
		defer fmt.Fprintf(a.stderr, "%s are left; go on with: ronbench soak --resume %s\n", s.state.Left().Round(time.Second), o.checkpoint)
	}
	if missed := a.finish(r, o.json); err == nil || !errors.Is(missed, errMissed) {
		return errors.Join(err, missed)
	}
	return err
}

// save writes the checkpoint, if one is wanted. A run that has not begun is one that can be begun.
func (s *soakRun) save() error {
	if s.o.checkpoint == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.state.Starts) == 0 {
		s.state.Begin()
		defer func() { s.state.Starts = nil }()
	}
	return s.state.Save(s.o.checkpoint)
}

// loadName is the load's own process in the names of series.
const loadName = "load"

// run is the segment: load and chaos beside the controller, until the time is up or ctx ends.
func (s *soakRun) run(ctx context.Context) error {
	s.before, s.base, s.began = *s.state, s.state.ElapsedS, time.Now()
	s.state.Begin()
	ctx, cancel := context.WithTimeout(ctx, s.state.Left())
	defer cancel()
	var wg sync.WaitGroup
	for _, srv := range s.servers.list {
		for _, l := range s.lanesOf(srv) {
			wg.Go(func() { s.keep(ctx, l) })
		}
	}
	if s.o.Chaos {
		s.startChaos(ctx, &wg)
	}
	progress := report.NewProgress(s.a.stderr)
	err := s.control(ctx, progress)
	cancel()
	wg.Wait()
	progress.Done()
	s.mu.Lock()
	s.state.ElapsedS = min(s.elapsed(), s.o.Duration.Seconds()) // what the last connections took to end is no soaking
	s.tally()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.rest()
}

// rest reads every server once nothing is connected any more: what its pools have still handed out then is lost.
func (s *soakRun) rest() error {
	for _, srv := range s.servers.list {
		var v vitals
		for until := time.Now().Add(restWait); ; time.Sleep(restPoll) {
			var err error
			if v, err = srv.vitals(); err != nil {
				return err
			}
			if v.conns == 0 && v.pool == 0 || time.Now().After(until) {
				break
			}
		}
		l := s.state.Load(srv.transport) // the lanes have ended
		l.RestConns += v.conns
		l.RestBuffers += v.pool
	}
	return nil
}

// startChaos begins what is hostile, on connections of its own. The crowd goes to the TLS server: what it does is of TCP.
func (s *soakRun) startChaos(ctx context.Context, wg *sync.WaitGroup) {
	h := &hostileOptions{}
	s.resets, s.harmed = make(map[string]*hostile.Resets), make(map[string]uint64)
	for i, srv := range s.servers.list {
		r := &hostile.Resets{Every: resetEvery, Rand: rand.New(rand.NewPCG(s.o.Seed, uint64(len(s.state.Starts)*lanes+i)))}
		switch srv.transport {
		case load.TLS:
			s.crowd = &hostile.Crowd{Addr: srv.addr, Conns: crowdSize, AtOnce: lanes, Again: crowdAgain, Drip: crowdDrip, TLS: h.tls()}
			wg.Go(func() { s.crowd.Run(ctx) })
			r.Open = hostile.ResetTLS(srv.addr, h.tls())
		case load.QUIC:
			r.Open = hostile.ResetQUIC(srv.addr, h.tls())
		default: // a circuit for each would be no light chaos
			continue
		}
		s.resets[srv.transport] = r
		wg.Go(func() { r.Run(ctx) })
	}
}

// tally brings what others count up to date. The lock is held.
func (s *soakRun) tally() {
	st := s.state
	st.Reloads, st.Tickets = s.before.Reloads, s.before.Tickets
	for _, v := range s.vitals {
		st.Reloads += uint64(v.reloads)
		st.Tickets += uint64(v.tickets)
	}
	if s.crowd == nil {
		return
	}
	st.Resets = s.before.Resets
	for t, r := range s.resets {
		done, not := r.Counts()
		st.Resets += done
		s.harmed[t] = done + not
	}
	st.Crowd, st.CrowdEnd = s.before.Crowd, s.before.CrowdEnd
	c := s.crowd.Counts()
	for _, n := range c.Opened {
		st.Crowd += n
	}
	s.harmed[load.TLS] += st.Crowd - s.before.Crowd + c.Failed
	for _, n := range c.Ended {
		st.CrowdEnd += n
	}
}

// due is a thing that is done every so often.
type due struct {
	every time.Duration
	next  time.Time
}

// now says whether it is due, and when that is again: missed times are not made up for.
func (d *due) now(at time.Time) bool {
	if at.Before(d.next) {
		return false
	}
	d.next = at.Add(d.every)
	return true
}

// control samples, governs, rotates and saves until ctx ends.
func (s *soakRun) control(ctx context.Context, progress *report.Progress) error {
	period := s.o.Life / 2
	later := func(d time.Duration) due { return due{every: d, next: s.began.Add(d)} }
	sample, govern, rotate, save := due{every: s.o.SampleEvery}, later(period), later(s.o.Rotate), later(savePause)
	from, err := proc.CoreTimes()
	if err != nil {
		return err
	}
	var last coreUse
	for {
		now := time.Now()
		if sample.now(now) {
			if err := s.sample(&last); err != nil {
				return err
			}
			progress.Line(now, s.line())
		}
		if govern.now(now) {
			to, err := proc.CoreTimes()
			if err != nil {
				return err
			}
			s.govern(busy(from, to))
			from = to
		}
		if rotate.now(now) {
			if err := s.servers.rotate(); err != nil {
				return err
			}
			s.state.Rotated++ // the controller's alone
		}
		if save.now(now) {
			if err := s.save(); err != nil {
				return fmt.Errorf("--checkpoint: %w", err)
			}
		}
		if sched.Sleep(ctx, time.Until(slices.MinFunc([]time.Time{sample.next, govern.next, rotate.next, save.next}, time.Time.Compare))) != nil {
			return nil
		}
	}
}

// busy is how busy all cores were on the average, per cent.
func busy(from, to []proc.CoreTime) float64 {
	each := proc.BusyPct(from, to)
	sum := 0.0
	for _, b := range each {
		sum += b
	}
	return sum / float64(max(len(each), 1))
}

// govern has the governor decide.
func (s *soakRun) govern(busy float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.elapsed()-s.base > s.state.Warmup().Seconds() {
		s.state.Periods++
		if s.gov.Inside(busy) {
			s.state.InBand++
		}
	}
	s.state.Rate = s.gov.Next(busy)
}

// soakReading is what a sample has of one process.
type soakReading struct {
	name string
	proc.Sample
	vitals
}

// readings are those of every process.
func (s *soakRun) readings() ([]soakReading, error) {
	var all []soakReading
	for _, srv := range s.servers.list {
		v, err := srv.vitals()
		if err != nil {
			return nil, err
		}
		p, err := proc.Take(srv.PID())
		if err != nil {
			return nil, err
		}
		all = append(all, soakReading{srv.transport + " server", p, v})
	}
	own, err := proc.Take(os.Getpid())
	return append(all, soakReading{loadName, own, ownVitals()}), err
}

// Units of the series that have no verdict.
const (
	unitPct  = "%"
	unitRate = "requests/s"
)

// coreUse is a reading of the cores, and of what of their time was this run's.
type coreUse struct {
	cores []proc.CoreTime
	own   time.Duration
	at    time.Time
}

// sample reads every process and the cores, which are those of the last sample before.
func (s *soakRun) sample(last *coreUse) error {
	all, err := s.readings()
	if err != nil {
		return err
	}
	to := coreUse{at: time.Now()}
	if to.cores, err = proc.CoreTimes(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.elapsed()
	s.state.ElapsedS = t
	for _, r := range all {
		to.own += r.CPU
		s.state.Add(r.name+" rss", "B", t, float64(r.RSS))
		s.state.Add(r.name+" fds", "count", t, float64(r.FDs))
		s.state.Add(r.name+" goroutines", "count", t, float64(r.goroutines))
		s.state.Add(r.name+" heap", "B", t, float64(r.heapLive))
		if r.name != loadName {
			s.state.Add(r.name+" buffers", "B", t, float64(r.pool))
		}
		s.vitals[r.name] = r.vitals
	}
	if last.own > 0 {
		all := busy(last.cores, to.cores)
		s.state.Add(report.SoakCPU, unitPct, t, all)
		s.state.Add(report.SoakOthers, unitPct, t, max(all-share(to.own-last.own, to.at.Sub(last.at), len(to.cores)), 0))
		s.state.Add(report.SoakRate, unitRate, t, s.state.Rate)
	}
	*last = to
	s.tally()
	return nil
}

// share is what a time of CPU is of all cores, per cent.
func share(cpu, wall time.Duration, cores int) float64 {
	return 100 * cpu.Seconds() / max(wall.Seconds()*float64(cores), 1e-9)
}

// line is the progress.
func (s *soakRun) line() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := func(name string) float64 {
		v, _ := s.state.Get(name, "").Last()
		return v
	}
	var p99, rss []string
	var failed uint64
	for _, srv := range s.servers.list {
		t := srv.transport
		if i := slices.IndexFunc(s.state.Series, func(o *soak.Series) bool { return o.Name == t+" p99" }); i >= 0 {
			v, _ := s.state.Series[i].Last()
			p99 = append(p99, fmt.Sprintf("%s %.1f", t, v))
		}
		rss = append(rss, fmt.Sprintf("%s %s", t, report.Size(int(last(t+" server rss")))))
		failed += s.state.Load(t).Errors.Total()
	}
	return fmt.Sprintf("soak: %s of %s, %.0f requests/s, cpu %.0f %%, p99 %s ms, rss %s, %d errors, so far %s",
		time.Duration(s.elapsed()*float64(time.Second)).Round(time.Second), s.o.Duration, s.state.Rate, last(report.SoakCPU),
		strings.Join(p99, " "), strings.Join(rss, " "), failed, s.soFar())
}
