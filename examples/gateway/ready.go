package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ron-transport/ron-transport/pool/readiness"
)

// watchEvery is how often changes of readiness are looked for, to be logged; probes ask by themselves.
const watchEvery = 250 * time.Millisecond

// report is what /readyz answers.
type report struct {
	State      readiness.State      `json:"state"`
	Draining   bool                 `json:"draining"`
	Transports map[string]transport `json:"transports"`
	Parts      map[string]part      `json:"parts"`
}

type part = readiness.Status

// transport is one transport's part of a report.
type transport struct {
	readiness.Status
	Addr string `json:"addr"`
}

// report says how the gateway is doing. A transport is as ready as its listener and what it shows: certificates lower TLS and QUIC, and
// upstreams that are away lower all, to Degraded. The gateway is NotReady when all its transports are, or when it drains; Degraded when
// one of them is not ready or degraded. Any goroutine.
func (a *app) report() report {
	r := report{Draining: a.leaving.Load(), Transports: map[string]transport{}, Parts: map[string]part{}}
	up := a.gw.upstreams()
	r.Parts["upstreams"] = up
	cert := readiness.OK()
	if a.store != nil {
		cert = a.store.Readiness()
		r.Parts["certificates"] = cert
	}
	add := func(name, addr string, of ...readiness.Status) {
		if of = append(of, up); r.Draining {
			of = append(of, readiness.OK().Lower(readiness.NotReady, "shutting_down", "the gateway drains"))
		}
		r.Transports[name] = transport{worstFirst(of), addr}
	}
	if a.tls != nil {
		add("tls", a.tls.Addr().String(), a.tls.Readiness(), cert)
	}
	if a.quic != nil {
		add("quic", a.quic.Addr().String(), a.quic.Readiness(), cert)
	}
	if a.onion != nil {
		add("tor", a.onion.Addr(), a.onion.Readiness())
	}
	r.State = overall(r.Transports)
	return r
}

// overall is the state of all transports together.
func overall(all map[string]transport) readiness.State {
	best, worst := readiness.NotReady, readiness.Ready
	for _, t := range all {
		best, worst = max(best, t.State), min(worst, t.State)
	}
	if best == readiness.NotReady || worst == readiness.Ready {
		return best
	}
	return readiness.Degraded
}

// worstFirst is all of them together. The first reason is one that gives the state.
func worstFirst(of []readiness.Status) readiness.Status {
	slices.SortStableFunc(of, func(a, b readiness.Status) int { return cmp.Compare(a.State, b.State) })
	all := readiness.OK()
	for _, s := range of {
		all = all.And(s)
	}
	return all
}

// upstreams is Degraded while an upstream could not be reached when it was last tried. It is never NotReady: were every node of a
// gateway taken out of its balancer because what is behind them is away, clients would get no answer at all instead of a 503. Any
// goroutine.
func (g *gateway) upstreams() readiness.Status {
	s, routes := readiness.OK(), g.policy.Load().routes
	g.away.Range(func(to, why any) bool {
		if routes.has(to.(target)) {
			s = s.Lower(readiness.Degraded, "not_ready", fmt.Sprintf("upstream %v could not be reached when it was last tried: %v", to, why))
		}
		return true
	})
	return s
}

// has says whether an upstream is in a route.
func (r *routes) has(to target) bool {
	in := func(x *route) bool { return x != nil && slices.Contains(x.targets, to) }
	for _, x := range r.byApp {
		if in(x) {
			return true
		}
	}
	return in(r.any)
}

// watch logs changes of readiness until ctx ends.
func (a *app) watch(ctx context.Context) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	type told struct {
		state  readiness.State
		reason string
	}
	last := map[string]told{}
	for {
		r := a.report()
		for name, tr := range r.Transports {
			reason, detail := "", ""
			if len(tr.Reasons) > 0 {
				reason, detail = tr.Reasons[0].Why, tr.Reasons[0].Detail
			}
			now := told{tr.State, reason}
			if was, known := last[name]; known && was == now {
				continue
			}
			last[name] = now
			a.log.Info("readiness", "transport", name, "state", tr.State.String(), "reason", reason, "detail", detail)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
