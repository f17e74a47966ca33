// Package reactor is the event loop: epoll, connections, timers, coalesced writes, back-pressure, accept, dial and drain.
// It speaks bytes. What the bytes mean is a Protocol's business (framer implements one), how they look on the wire a
// Filter's (tls implements one); the package imports neither.
//
// # Threads
//
// A Reactor runs Config.Loops loops, each one goroutine with its own epoll instance, connection table, timer wheel and
// buffers. A connection belongs to one loop for its whole life: every read, every write and every callback of it happens
// there, so none of them takes a lock. Methods marked "loop only" may be called from a callback of any connection of the
// same loop, or from a function given to Conn.Post. Methods marked "any goroutine" may be called from anywhere.
//
// # Bytes in
//
// Edge-triggered epoll, one registration per descriptor, never modified. A short read means drained, so the usual turn
// of a connection costs one read and one write. Ciphertext lands in a scratch buffer of the loop, is opened into the
// loop's plaintext buffer and is handed to the Protocol from there. Between turns a connection keeps only an incomplete
// record or frame, in a buffer of fitting size; an idle connection holds no buffer at all.
//
// # Bytes out
//
// Writes only append. The queue is flushed once per connection and turn, Config.WriteCoalesce bytes per system call.
// What the kernel does not take waits; above the high-water mark a connection that was accepted is not read until it has drained.
//
// # Streams, watches and services
//
// A connection need not be a socket: Reactor.Attach makes one of a Stream, and all of the above holds for it. Reactor.Watch has a
// loop look after a descriptor that is no connection, and a Service is what brings connections by such ways; Shutdown ends it.
package reactor
