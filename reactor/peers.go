package reactor

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// peer is what is counted about one peer: an IPv4 address or an IPv6 /64.
type peer struct {
	conns int           // accepted connections that exist, without refused ones; guarded by peers.mu
	half  int           // those whose handshake is not complete; guarded by peers.mu
	fresh *rate.Limiter // new connections; nil: no limit
	in    *rate.Limiter // bytes read; nil: no limit
	out   *rate.Limiter // bytes written; nil: no limit

	mu  sync.Mutex // guards now, and the order of charges
	now int64      // the latest clock of the loops that have charged in and out
}

// quiet says whether nothing of what p has done still counts.
func (p *peer) quiet(now time.Time) bool {
	for _, b := range [...]*rate.Limiter{p.fresh, p.in, p.out} {
		if b != nil && b.TokensAt(now) < float64(b.Burst()) {
			return false
		}
	}
	return true
}

// peers is the table of a reactor's peers. It is used when a connection comes, opens or goes, never per frame.
type peers struct {
	cfg  *Config
	mu   sync.Mutex
	m    map[netip.Addr]*peer
	idle int       // peers without connections; they are kept while what they have done still counts
	now  time.Time // the latest clock of the loops: one that lags behind must not set a bucket's back
}

// newPeers returns nil when no limit asks for a table.
func newPeers(cfg *Config) *peers {
	if cfg.MaxConnsPerPeer == 0 && cfg.MaxHandshakesPerPeer == 0 && cfg.PeerConnRate == 0 && cfg.PeerReadRate == 0 && cfg.PeerWriteRate == 0 {
		return nil
	}
	return &peers{cfg: cfg, m: make(map[netip.Addr]*peer)}
}

// peerKey is the address under which a peer is counted.
func peerKey(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is6() {
		p, _ := a.Prefix(64) // cannot fail: 64 is within range
		return p.Addr()
	}
	return a
}

// add counts a new connection of a, or says which limit forbids it. half: it has a handshake before it.
func (ps *peers) add(a netip.Addr, half bool, now time.Time) (*peer, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if now.After(ps.now) {
		ps.now = now
	}
	key := peerKey(a)
	p := ps.m[key]
	if p == nil {
		if ps.idle >= maxPeers {
			ps.sweep(ps.now)
		}
		p = &peer{in: newBucket(ps.cfg.PeerReadRate), out: newBucket(ps.cfg.PeerWriteRate)}
		if n := ps.cfg.PeerConnRate; n > 0 {
			p.fresh = rate.NewLimiter(rate.Limit(n), n)
		}
		ps.m[key] = p
		ps.idle++
	}
	switch {
	case p.fresh != nil && !p.fresh.AllowN(ps.now, 1):
		return nil, ErrPeerRate
	case ps.cfg.MaxConnsPerPeer > 0 && p.conns >= ps.cfg.MaxConnsPerPeer:
		return nil, ErrPeerLimit
	case half && ps.cfg.MaxHandshakesPerPeer > 0 && p.half >= ps.cfg.MaxHandshakesPerPeer:
		return nil, ErrPeerHandshakes
	}
	if p.conns == 0 {
		ps.idle--
	}
	p.conns++
	if half {
		p.half++
	}
	return p, nil
}

// sweep drops the peers that have no connections and nothing left to count. Should half of those without connections still
// be there, all of them are dropped: a table of this size is an attack from many addresses, against which a rate per address
// is no help, and the next sweep must not come soon. Peers with connections stay; MaxConns bounds them.
func (ps *peers) sweep(now time.Time) {
	before := ps.idle
	for _, all := range [...]bool{false, true} {
		for key, p := range ps.m {
			if p.conns == 0 && (all || p.quiet(now)) {
				delete(ps.m, key)
				ps.idle--
			}
		}
		if ps.idle <= before/2 {
			return
		}
	}
}

// opened takes back the count of a half-open connection.
func (ps *peers) opened(p *peer) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.half--
}

// remove takes back the count of a connection.
func (ps *peers) remove(a netip.Addr, p *peer, half bool, now time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.conns--
	if half {
		p.half--
	}
	if p.conns > 0 {
		return
	}
	if p.quiet(now) {
		delete(ps.m, peerKey(a))
		return
	}
	ps.idle++ // who comes back at once finds its buckets as they were
}

// newBucket makes a token bucket for bytes; nil when perSecond is 0, which means no limit.
func newBucket(perSecond int) *rate.Limiter {
	if perSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(perSecond/bucketPart, minBucket))
}
