// Package tor carries the reactor's connections over Tor: onion services whose connections are ordinary connections of the reactor,
// and dials to onion services with the SOCKS exchange run inside the loop. A tor process does Tor's part; this package starts one
// and looks after it, or uses one that runs, over its control port (package tor/control).
//
// # Readiness
//
// Nothing works before tor has bootstrapped, which takes seconds to minutes, and nobody finds an onion service before its descriptor
// is published. Tor.Status tells how far it is. Dials before that fail with an *Error that says when to try again, and Tor.Ready and
// Service.Ready are made for framer's Options.Ready, which has peers told the same.
//
// # What is on disk
//
// With Process.DataDir tor keeps what it learns of the network, and starts quicker. Without it tor's files are on a tmpfs, in a directory
// that is removed in the end, and the keys of services without a KeyFile are in this process' memory only.
//
// # Privacy
//
// An onion connection's remote address says nothing: all come from tor. Dials with different DialConfig.Isolation do not share
// circuits. This package asks no resolver for anything: names that are no onion addresses are refused.
package tor
