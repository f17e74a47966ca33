package chaos

// Counts is what the ledger says of all requests. Every request is in exactly one of Answered, Lost, Refused and Corrupt once nothing is
// awaited any more; Doubled and Unasked count replies beyond those.
type Counts struct {
	Sent     uint64 `json:"sent"`     // requests, each once however often it was asked
	Answered uint64 `json:"answered"` // with the right echo
	Lost     uint64 `json:"lost"`     // never answered
	Doubled  uint64 `json:"doubled"`  // replies to requests that had their reply
	Corrupt  uint64 `json:"corrupt"`  // replies whose payload is not what was sent: length, number or checksum
	Unasked  uint64 `json:"unasked"`  // replies to what was never asked, or not on this connection
	Refused  uint64 `json:"refused"`  // replies with another status than 200
	Retried  uint64 `json:"retried"`  // asked again, because the connection had ended
}

// Wrong is the number of frames that were lost, doubled, damaged or refused. Retries are not wrong by themselves.
func (c *Counts) Wrong() uint64 { return c.Lost + c.Doubled + c.Corrupt + c.Unasked + c.Refused }

// Add sums up.
func (c *Counts) Add(o *Counts) {
	c.Sent += o.Sent
	c.Answered += o.Answered
	c.Lost += o.Lost
	c.Doubled += o.Doubled
	c.Corrupt += o.Corrupt
	c.Unasked += o.Unasked
	c.Refused += o.Refused
	c.Retried += o.Retried
}

// awaited is a request without a reply.
type awaited struct {
	due     int64 // when its latency begins
	attempt uint32
	line    int
	stage   int     // in which it was due, or noStage
	on      *stream // the connection it was asked on; nil: on none yet
}

// ledger keeps the books on requests: which is awaited, and which has had its reply. Numbers begin at 1 and leave no gap.
type ledger struct {
	size   int // of every payload
	next   uint64
	open   map[uint64]*awaited // what is below next and not in here has had its reply, of whatever kind
	counts Counts
}

func newLedger(size int) *ledger {
	return &ledger{size: size, next: 1, open: make(map[uint64]*awaited)}
}

// begin enters a request of a line, due in a stage.
func (l *ledger) begin(line, stage int, due int64) uint64 {
	id := l.next
	l.next++
	l.open[id] = &awaited{due: due, line: line, stage: stage}
	l.counts.Sent++
	return id
}

// ask notes that a request goes out on a connection, and makes its payload.
func (l *ledger) ask(id uint64, on *stream, p []byte) {
	a := l.open[id]
	a.on = on
	putPayload(p, mark{id, a.attempt, uint32(a.line)})
}

// retry takes a request back from a connection that has ended: it may be asked again. Nothing of that connection comes any more.
func (l *ledger) retry(id uint64) {
	a := l.open[id]
	a.on = nil
	a.attempt++
	l.counts.Retried++
}

// outcome is what a reply was.
type outcome uint8

const (
	good     outcome = iota // the echo that was awaited
	doubled                 // its request had a reply before
	corrupt                 // not the bytes that were sent
	unasked                 // nobody asked for it on this connection
	refusing                // the server says no
)

// reply enters a reply that came on a connection: its corr_id, its status, and its payload. The request it settles is nil when there is none.
func (l *ledger) reply(on *stream, id uint64, code uint16, payload []byte) (outcome, *awaited) {
	a := l.open[id]
	switch {
	case a == nil && id > 0 && id < l.next:
		l.counts.Doubled++
		return doubled, nil
	case a == nil || a.on != on:
		l.counts.Unasked++
		return unasked, nil
	}
	delete(l.open, id)
	if code != statusOK {
		l.counts.Refused++
		return refusing, a
	}
	m, ok := readPayload(payload, l.size)
	if !ok || m.id != id || m.attempt != a.attempt || m.line != uint32(a.line) {
		l.counts.Corrupt++
		return corrupt, a
	}
	l.counts.Answered++
	return good, a
}

// close ends the books: what is awaited still is lost.
func (l *ledger) close() {
	for id := range l.open {
		delete(l.open, id)
		l.counts.Lost++
	}
}
