package quic

import (
	"maps"
	"time"

	"github.com/ron-transport/ron-transport/pool/latency"
	"github.com/ron-transport/ron-transport/quic/internal/udp"
)

// Stats counts what a listener or dialer has done. Streams are in the reactor's Stats, too, as its connections.
type Stats struct {
	Conns    int   // connections that exist
	HalfOpen int64 // of a listener: connections whose handshake is under way

	Opened           uint64 // connections that were opened
	HandshakesFailed uint64 // connections that were not
	Refused          uint64 // connections over a limit; packets of those that QUIC itself refused
	Retries          uint64 // clients that had to prove their address
	Streams          uint64 // streams, opened by either end
	StreamsRefused   uint64 // streams that came too late

	WindowGrown int64 // bytes by which the windows of the connections that exist have grown

	// How long handshakes took that were completed, by kind, from the client's first packet, or from the call of Dial, to their
	// end. Early ones have carried 0-RTT data that was accepted, which makes no use of their end.
	Full, Resumed, Early latency.Snapshot
	KeyExchanges         map[string]uint64 // completed handshakes by the name of their key exchange

	// Of the sockets.
	DatagramsIn, BytesIn   uint64
	DatagramsOut, BytesOut uint64
	ReadCalls, WriteCalls  uint64 // system calls
	Coalesced              uint64 // of DatagramsIn, those that the kernel had joined with others
	Moved                  uint64 // of Coalesced, those that were another loop's, and were given to its socket
	Truncated, Oversized   uint64 // datagrams dropped because they were larger than any of QUIC's
	Overflows              uint64 // datagrams that the kernel dropped because the socket's buffer was full
	Lost                   uint64 // datagrams that the kernel did not take in time, or a loop's socket from another's
	ReadErrors, SendErrors uint64
}

// stats fills in what the endpoint itself counts.
func (ep *endpoint) stats() Stats {
	ep.mu.Lock()
	n, groups := len(ep.conns), maps.Clone(ep.count.groups)
	ep.mu.Unlock()
	c := &ep.count
	st := Stats{
		KeyExchanges: groups,
		Conns:        n, HalfOpen: ep.half.Load(), Opened: c.opened.Load(), HandshakesFailed: c.failed.Load(), Refused: c.refused.Load(),
		Retries: c.retries.Load(), Streams: c.streams.Load(), StreamsRefused: c.refusedStreams.Load(), WindowGrown: ep.grown.Load(),
	}
	c.full.AddTo(&st.Full)
	c.resumed.AddTo(&st.Resumed)
	c.early.AddTo(&st.Early)
	return st
}

// shaken counts a handshake that is complete. By one goroutine, once a connection.
func (c *Conn) shaken() {
	took := time.Since(c.tag.began)
	h := c.agreement()
	n := &c.ep.count
	switch {
	case h.early:
		n.early.Observe(took)
	case h.tls.DidResume:
		n.resumed.Observe(took)
	default:
		n.full.Observe(took)
	}
	c.ep.mu.Lock()
	defer c.ep.mu.Unlock()
	n.groups[groupName(h.tls.CurveID)]++
}

// add adds a socket's counters.
func (st *Stats) add(u udp.Stats) {
	st.DatagramsIn += u.DatagramsIn
	st.BytesIn += u.BytesIn
	st.DatagramsOut += u.DatagramsOut
	st.BytesOut += u.BytesOut
	st.ReadCalls += u.ReadCalls
	st.WriteCalls += u.WriteCalls
	st.Coalesced += u.Coalesced
	st.Moved += u.Moved
	st.Truncated += u.Truncated
	st.Oversized += u.Oversized
	st.Overflows += u.Overflows
	st.Lost += u.Lost + u.Unmoved
	st.ReadErrors += u.ReadErrors
	st.SendErrors += u.SendErrors
}
