package load

import "fmt"

// greet writes a first request at once, while the handshake may be under way.
func (c *conn) greet() {
	c.state = connGreeting
	now := c.f.now()
	if !c.send(now, now) {
		c.t.Close(nil) // OnClose tells
	}
}

// greeted is called with the outcome of the first request.
func (c *conn) greeted(ok bool) {
	if ok {
		c.state = connReady
		c.join()
		return
	}
	c.state = connRetiring
	c.f.live.Add(1) // OnClose takes it back
	c.f.ready(c, fmt.Errorf("the first request, in 0-RTT packets, was answered with status %d", c.refusal))
	c.t.Close(nil)
}
