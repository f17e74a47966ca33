// Package sched is the timetable of an open-loop load: when each request of each connection is due, whatever the server
// does. Times are offsets in nanoseconds from the start of the load, so that a test can run it on any clock.
package sched

import (
	"context"
	"fmt"
	"time"
)

// MaxRPS bounds the rate: one request per 100 ns is beyond what one machine can issue.
const MaxRPS = 10_000_000

// Plan spreads a rate evenly over connections: request i of the whole load is due at i/rps seconds and goes to connection
// i mod conns. It is immutable: any goroutine may use it.
type Plan struct {
	rps, conns int64
}

// New validates and returns a plan.
func New(rps, conns int) (Plan, error) {
	if rps < 1 || rps > MaxRPS {
		return Plan{}, fmt.Errorf("rps: %d is not within 1 … %d", rps, MaxRPS)
	}
	if conns < 1 {
		return Plan{}, fmt.Errorf("conns: %d is not at least 1", conns)
	}
	return Plan{rps: int64(rps), conns: int64(conns)}, nil
}

// At is when request k (from 0) of connection conn (from 0) is due.
func (p Plan) At(conn int, k int64) time.Duration { return p.offset(k*p.conns + int64(conn)) }

// offset is i/rps seconds, without overflow and without the drift that a rounded interval would add up to.
func (p Plan) offset(i int64) time.Duration {
	return time.Duration(i/p.rps)*time.Second + time.Duration(i%p.rps*int64(time.Second)/p.rps)
}

// DueBefore is how many requests of connection conn are due before the offset d: the k for which At(conn, k) < d.
func (p Plan) DueBefore(conn int, d time.Duration) int64 {
	total := p.TotalBefore(d)
	if total <= int64(conn) {
		return 0
	}
	return (total-int64(conn)-1)/p.conns + 1
}

// TotalBefore is how many requests of all connections are due before the offset d.
func (p Plan) TotalBefore(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	// The first index with offset(i) >= d is ceil(d·rps), give or take the flooring inside offset.
	i := int64(d/time.Second)*p.rps + int64(d%time.Second)*p.rps/int64(time.Second)
	for p.offset(i) < d {
		i++
	}
	for i > 0 && p.offset(i-1) >= d {
		i--
	}
	return i
}

// Sleep waits for d or the end of ctx, whose error it returns. Any goroutine.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
