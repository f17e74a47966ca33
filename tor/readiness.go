package tor

import "github.com/ron-transport/ron-transport/pool/readiness"

// Readiness is Status in the form that all transports have: NotReady until tor has bootstrapped (tor_bootstrap after
// BootstrapTimeout, else not_ready) and every service's descriptor is published; Degraded while the control connection is lost or tor
// finds its network gone. Any goroutine.
func (t *Tor) Readiness() readiness.Status { return t.Status().Readiness() }

// Readiness is s in the form that all transports have. Any goroutine.
func (s Status) Readiness() readiness.Status {
	to := map[State]readiness.State{NotReady: readiness.NotReady, Degraded: readiness.Degraded, Ready: readiness.Ready}[s.State]
	if to == readiness.Ready {
		return readiness.OK()
	}
	return readiness.OK().Lower(to, s.Reason, s.Detail)
}

// Readiness is that of the Tor but for its other services, and of the listener that tor connects to; and NotReady (shutting_down) when the
// service is closed. Any goroutine.
func (svc *Service) Readiness() readiness.Status {
	svc.t.mu.Lock()
	closing := svc.state == serviceClosing
	svc.t.mu.Unlock()
	if closing {
		return readiness.OK().Lower(readiness.NotReady, "shutting_down", svc.Addr()+" is closed")
	}
	s := svc.lis.Readiness()
	if err := svc.Ready(); err != nil {
		why := "not_ready"
		if e, ok := err.(*Error); ok {
			why = e.Reason()
		}
		return s.Lower(readiness.NotReady, why, err.Error())
	}
	if st := svc.t.Status(); st.State == Degraded {
		s = s.And(st.Readiness())
	}
	return s
}
