// Package readiness is how the transports say whether they can be relied on, in one form for all of them: a state and the reasons for
// it. reactor, quic, tor and tls/certs return it from methods called Readiness. It imports nothing but the standard library.
package readiness

import (
	"encoding/json"
	"fmt"
)

// State says how far something can be relied on. The order is from worst to best.
type State uint8

const (
	// NotReady: new work sent here would fail. A balancer sends it elsewhere.
	NotReady State = iota
	// Degraded: work is done, but some of it may be refused, or will soon be if nobody looks into it.
	Degraded
	// Ready: nothing is known to be wrong.
	Ready
	numStates
)

var names = [numStates]string{"not_ready", "degraded", "ready"}

// String is the state's word: "not_ready", "degraded", "ready". Any goroutine.
func (s State) String() string {
	if s < numStates {
		return names[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalJSON writes the word. Any goroutine.
func (s State) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// Reason is one cause of a state that is not Ready.
type Reason struct {
	// Why is a word of the canon (oap1.md), as it is on the wire and in metrics: shutting_down, over_capacity, not_ready,
	// tor_bootstrap, tls, …
	Why string `json:"reason"`
	// Detail says the same for people. It may name files of this machine, so it is for its operators alone.
	Detail string `json:"detail"`
}

// Status is a state with its reasons. The zero value is NotReady without a reason; start from OK.
type Status struct {
	State   State    `json:"state"`
	Reasons []Reason `json:"reasons,omitempty"`
}

// OK is Ready. Any goroutine.
func OK() Status { return Status{State: Ready} }

// Lower is s with a reason more, and with the given state where that is worse. s is not changed. Any goroutine.
func (s Status) Lower(to State, why, detail string) Status {
	return s.And(Status{State: to, Reasons: []Reason{{Why: why, Detail: detail}}})
}

// And is the worse of both states, with the reasons of both. Neither is changed. Any goroutine.
func (s Status) And(o Status) Status {
	both := Status{State: min(s.State, o.State)}
	both.Reasons = append(append(both.Reasons, s.Reasons...), o.Reasons...)
	return both
}
