// Package adversary holds tests only: hostile peers on real sockets against the whole stack, reactor, tls and framer
// together. Each test says what the peer gets, what is counted, that deadlines hold, that everything is given back, and that a
// healthy connection is served meanwhile. The hostile side is net and crypto/tls, with records made by hand where those
// are too well-behaved.
package adversary
