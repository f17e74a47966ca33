// Package torlab runs a private Tor network on loopback, for tests and benchmarks: one directory authority, relays, and clients, each
// a process of Debian's tor. It takes some 7 s until the clients are ready.
//
// Nothing of it talks to the public network: all processes get an empty default configuration, the private authority as the only
// one, and addresses on 127.0.0.1. Isolate puts the whole program into a network namespace that has only a loopback interface
// besides, so that not even a mistake could.
package torlab
