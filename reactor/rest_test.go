package reactor

import (
	"io"
	"testing"
)

// A loop whose last connection has ended gives its buffers back by itself, also when nothing is left to wake it: the connection was
// silent for so long that the pool holds nothing that it would have to look after.
func TestLoopAtRestHoldsNothing(t *testing.T) {
	r := start(t, Config{Loops: 1})
	c := dialNet(t, listen(t, r, echo))
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the pool to decay", func() bool { s := r.Stats(); return s.PoolCachedBytes == 0 && s.PoolOutstandingBytes > 0 })
	_ = c.Close()
	waitFor(t, "the connection's end", func() bool { return r.Stats().Conns == 0 })
	waitFor(t, "the loop's buffers", func() bool { s := r.Stats(); return s.PoolOutstandingBytes == 0 && s.PoolCachedBytes == 0 })
}
