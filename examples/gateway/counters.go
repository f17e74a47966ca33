package main

import "sync/atomic"

// failure says why a request that was to be forwarded has been answered by the gateway itself, with an error.
type failure uint8

const (
	// failTimeout: forward.timeout was over.
	failTimeout failure = iota
	// failLost: the upstream was lost, or could not be reached, and the request may not be sent once more.
	failLost
	// failRefused: a frame does not fit what the upstream or the client accepts, or what a frame holds.
	failRefused
	// failQueue: forward.queue requests were waiting for the upstream's connection.
	failQueue
	// failSlow: the client did not read a long answer, and others were held up.
	failSlow
	numFailures
)

func (f failure) String() string {
	return [numFailures]string{"timeout", "lost", "refused", "queue_full", "slow_client"}[f]
}

// counters are about all upstreams together. Any goroutine.
type counters struct {
	requests  atomic.Uint64 // requests and streams that were to be forwarded
	retries   atomic.Uint64 // tries after the first
	links     atomic.Uint64 // connections that became open
	linksLost atomic.Uint64 // connections that failed, or could not be made
	failures  [numFailures]atomic.Uint64
}
