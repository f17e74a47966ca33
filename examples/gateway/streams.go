package main

// streams remembers streams of one connection by corr_id: those that are being echoed, and those that have been answered before their END,
// of which what still comes belongs nowhere, because a frame out of the middle of a stream must not pass for a request. framer bounds the
// streams that a client has open, and each of them is forgotten with its END. A stream that framer gives up for a broken rule has no END
// that we see, so the oldest make room for new ones; the room is twice what a client can have open. Loop only.
type streams struct {
	limit int
	added map[uint64]uint64 // by corr_id: the number under which it was added
	order []uint64          // corr_ids by number, modulo limit
	n     uint64
}

// add notes a stream.
func (e *streams) add(corr uint64) {
	if e.added == nil {
		e.added = map[uint64]uint64{}
	}
	i := e.n % uint64(e.limit)
	if len(e.order) < e.limit {
		e.order = append(e.order, corr)
	} else {
		if at, known := e.added[e.order[i]]; known && at == e.n-uint64(e.limit) {
			delete(e.added, e.order[i])
		}
		e.order[i] = corr
	}
	e.added[corr] = e.n
	e.n++
}

// take says whether a frame belongs to a stream that is remembered. The last one is forgotten with it, and so is a stream that another one
// takes the place of.
func (e *streams) take(corr uint64, start, end bool) bool {
	if len(e.added) == 0 {
		return false
	}
	_, known := e.added[corr]
	if known && (start || end) {
		delete(e.added, corr)
	}
	return known && !start
}
