package main

import "time"

// Limits of the gateway's own settings; those of the library's fields are the library's.
const (
	maxDrain    = time.Hour              // a supervisor that waits longer is not known
	minDrain    = 100 * time.Millisecond // below, not even a goodbye is read
	minForward  = 10 * time.Millisecond
	maxForward  = 10 * time.Minute
	maxAttempts = 16
	maxInflight = 4096 // as the framer's own bound on requests without a response
	maxQueue    = 1 << 20
	maxRoutes   = 256
	maxExpiry   = 366 * 24 * time.Hour // certificates live for a year or so: beyond, all are about to end
	// maxAdminConns bounds the admin listener's connections, which take descriptors from clients: probers and scrapers are a handful.
	maxAdminConns = 64
	// maxScrapes bounds scrapes at once; more are answered with 503. Two Prometheus servers of a pair, and people.
	maxScrapes = 4
	// maxUnixPath is the longest path of a unix socket, in bytes (sun_path less its end).
	maxUnixPath = 107
	// logQueue is how many lines of the log may wait to be written: a second's worth of them at level debug, some 200 KiB.
	logQueue = 1024
	// maxRefusal bounds the error bodies of upstreams that are looked into, in bytes: the framer's own take less than 300.
	maxRefusal = 4 << 10
	// maxKeyFile bounds a key file of QUIC, in bytes: 64 digits, and what ends the line.
	maxKeyFile = 128
)

// clientShare is the part of an upstream connection's permits that one client may hold: a quarter.
const clientShare = 4

// heldCopies bounds, in bytes, what of one client's answers is copied so that others' answers behind them can be read: as much as a
// connection may have queued by default.
const heldCopies = 4 << 20

// loopCopies bounds, in bytes, the same of all clients of a loop: were it not, as many slow clients as may connect could each have theirs.
const loopCopies = 16 * heldCopies

// Fixed times.
const (
	// firstBackoff and lastBackoff bound the pause before a request is tried again, which doubles.
	firstBackoff = 25 * time.Millisecond
	lastBackoff  = time.Second
	// coolDown is how long an upstream that has failed is left alone at first; it doubles with each failure, up to maxCoolDown.
	coolDown    = 2 * time.Second
	maxCoolDown = 30 * time.Second
	// leastOpen and mostOpen bound openTime, which is a quarter of forward.timeout: half a second is three round trips over any network on
	// Earth, and a lost packet is sent again within a second.
	leastOpen = 500 * time.Millisecond
	mostOpen  = 2 * time.Second
	// takeOverWait is how long a predecessor may take to pass its socket on.
	takeOverWait = 10 * time.Second
	// flushTime is how long the end of the process waits for a reader of the log.
	flushTime = time.Second
	// failedGrace is what a start that has failed leaves clients that have come meanwhile.
	failedGrace = time.Second
	// adminTime bounds reading and answering one request of the admin listener.
	adminTime = 10 * time.Second
	// stapleWait is how long the start waits for a first staple that a certificate demands.
	stapleWait = 5 * time.Second
)
