package main

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// upstreamState is what a loop thinks of an upstream that it does not think well of; one that it has nothing against has none.
type upstreamState uint8

const (
	// upstreamCold: it has failed. It is not chosen while there is another one; a connection that opens ends that.
	upstreamCold upstreamState = iota
	// upstreamTrial: a connection is open again, no answer has come yet. Should it fail now, it is left alone for longer.
	upstreamTrial
)

// health is an upstream's. Loop only.
type health struct {
	state upstreamState
	fails int  // in a row
	probe bool // the next probe is due at some time
}

// errSilent is an upstream that takes requests and answers nothing.
var errSilent = &framer.Error{Why: framer.ReadTimeout, Detail: "nothing was heard of it within forward.timeout"}

// fail notes that an upstream has failed. It is looked for in the background, at growing intervals, so that no request has to find out
// whether it is back.
func (sh *shard) fail(to target, cause error) {
	if errors.Is(cause, reactor.ErrShuttingDown) || !sh.g.policy.Load().routes.has(to) {
		return // we are, or nobody wants it any more
	}
	h := sh.sick[to]
	if h == nil {
		h = &health{}
		sh.sick[to] = h
	}
	h.state = upstreamCold
	h.fails++
	why := reasonOf(cause)
	if was, known := sh.g.away.Swap(to, why); !known || was != why { // once per loop and try would be no news
		sh.g.log.Warn("upstream lost", "upstream", to.String(), "reason", why, "err", cause)
	}
	if h.probe {
		return
	}
	h.probe = true
	time.AfterFunc(min(coolDown<<min(h.fails-1, 10), maxCoolDown), func() {
		_ = sh.g.loops.Post(sh.loop, func() { // a loop that has stopped needs no upstreams
			h.probe = false
			if sh.sick[to] == h && h.state == upstreamCold && !sh.ending && sh.links[to] == nil {
				sh.open(to, sh.g.policy.Load())
			}
		})
	})
}

// found notes that a connection to an upstream is open.
func (sh *shard) found(to target) {
	if h := sh.sick[to]; h != nil {
		h.state = upstreamTrial
	}
	if _, was := sh.g.away.LoadAndDelete(to); was {
		sh.g.log.Info("upstream found", "upstream", to.String())
	}
}

// cold says that an upstream has failed, and has not been found again.
func (sh *shard) cold(to target) bool {
	h := sh.sick[to]
	return h != nil && h.state == upstreamCold
}

// silence is called when a request has had no answer within forward.timeout. When nothing else has come from the upstream meanwhile either,
// it hangs: what it has is waited for, and new requests go elsewhere.
func (l *link) silence(c *call) {
	if l.has(c) && c.begun && l.heard == c.heard && l.state == linkOpen {
		l.sh.fail(l.to, errSilent)
		l.leave()
	}
}

// adopt puts a policy in force. Connections that no route leads to any more end with the calls they have, and what was held against their
// upstreams is forgotten. Any goroutine.
func (g *gateway) adopt(p *policy) {
	g.policy.Store(p)
	gone := func(to target) bool { return !p.routes.has(to) }
	g.away.Range(func(to, _ any) bool {
		if gone(to.(target)) {
			g.away.Delete(to)
		}
		return true
	})
	for i, sh := range g.shards {
		_ = g.loops.Post(i, func() { // a loop that is too busy to hear of it leaves them to their idle deadline
			maps.DeleteFunc(sh.sick, func(to target, _ *health) bool { return gone(to) })
			for _, l := range slices.Clone(sh.all) {
				if gone(l.to) {
					l.retire()
				}
			}
		})
	}
}

// openTime bounds connect and handshake, and then the answer to our HELLO: a request must have time for the next upstream.
func openTime(p *policy) time.Duration {
	return max(leastOpen, min(mostOpen, p.Timeout/4))
}
