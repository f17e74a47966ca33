package load

// queue holds the start times of requests in flight, oldest first. It grows to what is in flight at most, and no
// operation allocates once it has.
type queue struct {
	buf  []int64 // length a power of two
	head int
	n    int
}

func (q *queue) push(v int64) {
	if q.n == len(q.buf) {
		grown := make([]int64, max(8, 2*len(q.buf)))
		for i := range q.n {
			grown[i] = q.buf[(q.head+i)&(len(q.buf)-1)]
		}
		q.buf, q.head = grown, 0
	}
	q.buf[(q.head+q.n)&(len(q.buf)-1)] = v
	q.n++
}

// pop removes the oldest; ok is false when nothing is in flight.
func (q *queue) pop() (v int64, ok bool) {
	if q.n == 0 {
		return 0, false
	}
	v = q.buf[q.head]
	q.head = (q.head + 1) & (len(q.buf) - 1)
	q.n--
	return v, true
}

// each calls fn for every start time, oldest first.
func (q *queue) each(fn func(v int64)) {
	for i := range q.n {
		fn(q.buf[(q.head+i)&(len(q.buf)-1)])
	}
}
