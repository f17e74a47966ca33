package main

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/chaos"
	"github.com/ron-transport/ron-transport/bench/internal/child"
	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
	"github.com/ron-transport/ron-transport/reactor"
)

// The rows about hostile peers. They run on loopback, over TLS.
const (
	// lorisConns is the crowd, lorisShort that of --short. `ronbench loris` has one of 10,000, with a control.
	lorisConns, lorisShort = 500, 60
	// lorisDeadline are the server's deadlines in that row, lorisDrip the pause between two bytes: each byte comes well before.
	lorisDeadline, lorisShortDeadline = 3 * time.Second, time.Second
	lorisDrip                         = 200 * time.Millisecond
	// lorisLimit is how long it may take until the server has ended as many connections as the crowd has, and until it is free of them.
	lorisLimit = 90 * time.Second
	// lorisSpareFDs are descriptors that may come and go with anything else; lorisPerConn and lorisSpare bound the memory: what a handshake holds
	// for a moment, and the head room of the collector.
	lorisSpareFDs = 16
	lorisPerConn  = 128 << 10
	lorisSpare    = 64 << 20

	// bombConns bombers at once, bombShort in --short, with bombRounds rounds of all bombs each.
	bombConns, bombShort = 64, 8
	bombRounds           = 4
	bombPatience         = 60 * time.Second
	// bombLimit is what the server may map beyond what it has at its start: a fraction of what the bombs of all connections would inflate to, 64 MiB
	// each, and Go's heap grows by 64 MiB at a time. bombGoLimit is the bound that Go's collector keeps to.
	bombLimit   = 256 << 20
	bombGoLimit = "GOMEMLIMIT=160MiB"
)

// slowKinds are the four kinds of slow-loris, and the reasons with which the server ends them.
func slowKinds() map[hostile.Kind]string {
	return map[hostile.Kind]string{
		hostile.Silent: reactor.ReasonHandshakeTimeout, hostile.StalledHi: reactor.ReasonHandshakeTimeout,
		hostile.DrippedHead: reactor.ReasonReadTimeout, hostile.DrippedBody: reactor.ReasonReadTimeout,
	}
}

// hostile are the steps of the rows about hostile peers.
func (c *chaosRun) hostile() []step {
	var out []step
	if c.o.has(rowLoris) {
		for _, k := range []hostile.Kind{hostile.Silent, hostile.StalledHi, hostile.DrippedHead, hostile.DrippedBody} {
			out = append(out, step{name: rowLoris, label: rowLoris + "-" + k.String(), do: func(ctx context.Context) error { return c.loris(ctx, k) }})
		}
	}
	if c.o.has(rowBombs) {
		out = append(out, step{name: rowBombs, label: rowBombs, do: c.bombs})
	}
	return out
}

// crowdRun is the row of one kind of slow-loris.
type crowdRun struct {
	*stand
	kind      hostile.Kind
	conns     int
	deadline  time.Duration
	crowd     *child.Process
	fds, rss0 int64
	fdPeak    int64
	rssPeak   int64
	counts    hostile.CrowdCounts
}

func (c *chaosRun) loris(ctx context.Context, kind hostile.Kind) error {
	x := &crowdRun{kind: kind, conns: lorisConns, deadline: lorisDeadline}
	if c.o.short {
		x.conns, x.deadline = lorisShort, lorisShortDeadline
	}
	f := &fault{row: rowLoris + "-" + kind.String(), spec: c.onLoopback(report.ChaosTLS), harm: x.form, heal: x.disperse, note: x.judge}
	f.what = fmt.Sprintf("%d %s connections at once, deadlines of %s", x.conns, kind, x.deadline)
	deadline := "--handshake-timeout"
	if slowKinds()[kind] == reactor.ReasonReadTimeout { // its own handshake may take its time on a busy machine
		deadline = "--frame-timeout"
	}
	f.spec.serverArgs = []string{deadline, x.deadline.String()}
	return c.fault(ctx, f)
}

// form has the crowd come, and waits until the server has ended as many as there are: none outlives its deadline then.
func (x *crowdRun) form(ctx context.Context, s *stand) (err error) {
	x.stand = s
	if err := x.measure(); err != nil {
		return err
	}
	x.fds, x.rss0 = x.fdPeak, x.rssPeak
	if x.crowd, err = s.c.a.startHostile("hostile_crowd", "--target", s.srv.addr, "--conns", strconv.Itoa(x.conns), "--kinds", x.kind.String(),
		"--drip", lorisDrip.String(), "--nice", strconv.Itoa(maxNice)); err != nil {
		return err
	}
	defer func() {
		if err != nil { // nobody heals what has failed
			err = errors.Join(err, x.crowd.Stop(stopWait))
		}
	}()
	if err := s.load.stage(stageDuring, chaos.Open); err != nil {
		return err
	}
	if err := x.crowd.Tell(orderOn); err != nil {
		return err
	}
	for limit := time.Now().Add(lorisLimit); time.Now().Before(limit); {
		if err := sched.Sleep(ctx, chaosPoll); err != nil {
			return err
		}
		if err := ask(x.crowd, orderCount, &x.counts); err != nil {
			return err
		}
		if err := x.measure(); err != nil {
			return err
		}
		s.c.say(x.counts.String())
		if x.counts.Ended[x.kind.String()] >= uint64(x.conns) {
			return nil
		}
	}
	return nil // judge says what is missing
}

// measure reads what the server holds.
func (x *crowdRun) measure() error {
	n, err := proc.FDs(x.srv.PID())
	if err != nil {
		return err
	}
	rss, err := proc.RSS(x.srv.PID())
	x.fdPeak, x.rssPeak = max(x.fdPeak, int64(n)), max(x.rssPeak, rss)
	return err
}

// disperse has the crowd leave, and waits until the server is free of it.
func (x *crowdRun) disperse(*stand) error {
	if x.crowd == nil {
		return nil
	}
	if err := x.measure(); err != nil {
		return err
	}
	err := ask(x.crowd, orderOff, &x.counts)
	if err = errors.Join(err, x.crowd.Stop(stopWait)); err != nil {
		return err
	}
	for limit := time.Now().Add(lorisLimit); time.Now().Before(limit); time.Sleep(chaosPoll) {
		if n, err := proc.FDs(x.srv.PID()); err != nil || int64(n) <= x.fds+lorisSpareFDs {
			return err
		}
	}
	return fmt.Errorf("the server still holds descriptors of the crowd %s after it has gone", lorisLimit)
}

// judge says whether deadlines, descriptors and memory have held.
func (x *crowdRun) judge(_ *stand, into *report.ChaosFault, srv *report.Server) {
	name, why := x.kind.String(), slowKinds()[x.kind]
	ended, by := x.counts.Ended[name], uint64(0)
	if srv.Reactor != nil {
		by = srv.Reactor.ClosedBy[why]
	}
	into.Fact("hostile connections", float64(x.conns), "")
	into.Fact("ended by the server", float64(ended), "")
	into.Fact("with "+why, float64(by), "")
	into.Fact("longest life", x.counts.LongestS[name], "s")
	into.Fact("descriptors", float64(x.fdPeak-x.fds), "more")
	into.Fact("memory", float64(x.rssPeak-x.rss0)/(1<<20), "MiB more")
	if ended < uint64(x.conns) {
		into.Wrong = append(into.Wrong, fmt.Sprintf("the server has ended %d of %d hostile connections", ended, x.conns))
	}
	if by < uint64(x.conns) {
		into.Wrong = append(into.Wrong, fmt.Sprintf("it has ended %d of %d with %s", by, x.conns, why))
	}
	if n := x.fdPeak - x.fds; n > int64(x.conns)+lorisSpareFDs {
		into.Wrong = append(into.Wrong, fmt.Sprintf("%d descriptors for %d connections", n, x.conns))
	}
	if m := x.rssPeak - x.rss0; m > int64(x.conns)*lorisPerConn+lorisSpare {
		into.Wrong = append(into.Wrong, fmt.Sprintf("%s of memory for %d connections", report.Size(int(m)), x.conns))
	}
}

// bombs is the row of the compression bombs: a healthy load beside bombers, and a server that must not need more memory than it is given.
func (c *chaosRun) bombs(ctx context.Context) error {
	conns := bombConns
	if c.o.short {
		conns = bombShort
	}
	var sent hostile.BombCounts
	f := &fault{row: rowBombs, spec: c.onLoopback(report.ChaosTLS)}
	f.what = fmt.Sprintf("%d connections send payloads that inflate to 64 MiB; the server may map %s more than at its start", conns, report.Size(bombLimit))
	f.spec.env = []string{bombGoLimit}
	f.harm = func(ctx context.Context, s *stand) error {
		err := limitMemory(s.srv.PID(), bombLimit)
		if err == nil {
			sent, err = s.bombard(ctx, conns)
		}
		return err
	}
	f.heal = func(*stand) error { return nil }
	f.note = func(s *stand, into *report.ChaosFault, srv *report.Server) {
		into.Fact("bombs", float64(sent.Sent), "")
		into.Fact("answered with 413", float64(sent.Codes[413]), "")
		into.Fact("inflate to", sent.Ratio, "times their size")
		into.Fact("server memory", float64(srv.RSS)/(1<<20), "MiB")
		if want := uint64(conns * bombRounds * 4); sent.Codes[413] != sent.Sent || sent.Sent != want {
			into.Wrong = append(into.Wrong, fmt.Sprintf("of %d bombs %d were sent, answers by code: %v; %s", want, sent.Sent, sent.Codes, sent.First))
		}
	}
	return c.fault(ctx, f)
}

// bombard sends the bombs, with the live line.
func (s *stand) bombard(ctx context.Context, conns int) (hostile.BombCounts, error) {
	roots, err := cert.Pool(s.c.files.Cert)
	if err != nil {
		return hostile.BombCounts{}, err
	}
	b := hostile.Bombardment{Addr: s.srv.addr, Conns: conns, Each: bombRounds, Timeout: bombPatience,
		TLS: &stdtls.Config{MinVersion: stdtls.VersionTLS13, RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"oap/1"}}}
	type result struct {
		counts hostile.BombCounts
		err    error
	}
	done := make(chan result, 1)
	go func() { // ends when all bombs are answered, or ctx ends
		counts, err := b.Run(ctx)
		done <- result{counts, err}
	}()
	if err := s.load.stage(stageDuring, chaos.Open); err != nil {
		return hostile.BombCounts{}, err
	}
	for {
		select {
		case r := <-done:
			return r.counts, r.err
		case <-s.srv.Exited():
			r := <-done // its connections have ended with the server
			return r.counts, errors.Join(errors.New("the server has ended"), s.srv.Wait(), r.err)
		case <-time.After(chaosPoll):
			st, err := s.load.status()
			if err != nil {
				return hostile.BombCounts{}, err
			}
			s.c.say(fmt.Sprintf("bombs, %d replies to the healthy load, %d awaited", st.Good, st.Awaited))
		}
	}
}

// limitMemory has a process fail when its writable memory grows by more than so many bytes from now on.
func limitMemory(pid int, more int64) error {
	now, err := proc.Data(pid)
	if err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: uint64(now + more), Max: uint64(now + more)}
	if err := unix.Prlimit(pid, unix.RLIMIT_DATA, &limit, nil); err != nil {
		return fmt.Errorf("limit the memory of process %d: %w", pid, err)
	}
	return nil
}
