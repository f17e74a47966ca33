package load

// link is what the streams of one QUIC connection share: the permits for requests in flight. All its conns are of one group.
// Loop only. A nil link gives every permit.
type link struct {
	limit    int // requests in flight; 0: no limit
	inflight int
	waiting  []*conn // conns that want to write, the longest waiting first
	head     int     // of waiting
}

// permit says whether c may write a request. If not, c goes on by itself when a permit is free.
func (l *link) permit(c *conn) bool {
	if l == nil || l.limit == 0 || l.inflight < l.limit {
		return true
	}
	if !c.waiting {
		c.waiting = true
		l.waiting = append(l.waiting, c)
	}
	return false
}

// use takes a permit, which permit has promised.
func (l *link) use() {
	if l != nil {
		l.inflight++
	}
}

// free gives n permits back, and has those go on who wait for one.
func (l *link) free(n int) {
	if l == nil {
		return
	}
	l.inflight -= n
	for l.head < len(l.waiting) && l.inflight < l.limit {
		c := l.waiting[l.head]
		l.waiting[l.head] = nil
		l.head++
		c.waiting = false
		c.OnDrained()
	}
	if l.head == len(l.waiting) {
		l.waiting, l.head = l.waiting[:0], 0
	} else if l.head > len(l.waiting)/2 {
		l.waiting = append(l.waiting[:0], l.waiting[l.head:]...)
		l.head = 0
	}
}
