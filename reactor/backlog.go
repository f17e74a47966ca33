package reactor

// backlog collects what is to be looked at later in this turn, or in the next one.
type backlog[T any] struct {
	next []T // being collected
	now  []T // being worked off, from at on
	at   int
}

// turn begins to work off what was collected, unless the last batch was interrupted.
func (q *backlog[T]) turn() {
	if q.at == len(q.now) {
		q.now, q.next, q.at = q.next, q.now[:0], 0
	}
}

// take returns the next one of the batch; the zero value ends it.
func (q *backlog[T]) take() (x T) {
	if q.at < len(q.now) {
		x, q.now[q.at] = q.now[q.at], x // what is done must not be kept from the collector
		q.at++
	}
	return x
}
