package nodes

import "time"

// Nodes is how many gateways there are: with fewer than three, one that leaves and one that has failed at the same time are all there is.
const Nodes = 3

// Bounds of Config.
const (
	MinDelay = 500 * time.Millisecond // below, the balancer notices too late that a node drains
	MaxDelay = time.Minute
	// MinResumptions is a hundred for each third of the phase: with fewer, one per cent is less than one connection.
	MinResumptions = 300
	MaxResumptions = 1 << 20 // at some hundred a second, more than an hour
	MaxConns       = 4096    // each has a goroutine here, and two descriptors in the balancer
	MaxRPS         = 50_000  // at least one a second for each connection, so that all of them hear a goodbye before their node's patience ends
)

// Times of the balancer. Two looks in a row decide: a node is out of it after some 400 ms, which Config.Delay must exceed.
const (
	checkEvery = 200 * time.Millisecond
	checkFalls = 2
	checkRises = 2
)

const (
	// patience bounds what is waited for: a start, a drain, a reload. None of them takes seconds on an idle machine.
	patience = time.Minute
	// poll is the pause between two looks at something that is waited for.
	poll = 20 * time.Millisecond
	// askTime bounds one request, and one handshake.
	askTime = 20 * time.Second
	// retryPause is between two attempts to connect that fail.
	retryPause = 20 * time.Millisecond
	// stopGrace is how long a process has to end in order when the run is over.
	stopGrace = 5 * time.Second
	// drainTimeout is the gateways' drain.timeout.
	drainTimeout = 30 * time.Second
	// logWait is how long the balancer's line about a connection may take to come.
	logWait = 10 * time.Second
	// logBuffer is the receive buffer for those, in bytes: a line takes some 1 KiB of it, and thousands may come at once.
	logBuffer = 4 << 20
	// keepLines bounds what is kept of a gateway's log.
	keepLines = 4096
)
