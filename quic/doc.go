// Package quic carries streams of QUIC (RFC 9000) as connections of a reactor: quic-go speaks the protocol, the reactor's
// loops read the UDP sockets and run the streams. A protocol written for TCP or TLS runs on a stream unchanged: the same
// callbacks on one loop, the same back-pressure, deadlines, marks, refusals and reasons.
//
// # Threads
//
// A Listener has a socket for each loop; a connection belongs to the loop that its first packet came to, with all its streams, and
// stays there when its peer moves (the first byte of our connection IDs names the loop). A Dialer has a socket for each loop and
// address family that it uses, with many connections on it. quic-go runs two goroutines for a connection, this package one more, and
// one for each stream, which waits for input without holding a buffer; while output waits there are up to two for each connection.
// Handlers run on loops only.
//
// # Bytes in
//
// The loop takes datagrams from the socket, many with one system call and joined by the kernel (UDP_GRO), and hands them to quic-go.
// A datagram that came joined to those of another loop's connection, by which the kernel has steered it, is given to its own loop's socket.
// What quic-go has put in order, the stream's read copies to where the protocol sees it. A protocol that pauses, or whose output is
// above the high-water mark, is not read; then the stream's window, at most Config.MaxStreamWindow, fills, and its peer stops.
// Windows grow with what is read, as far as Config.WindowBudget allows for all connections together. The streams of a connection
// share its window: what is not read on one can in the end stop all, and a frame that cannot be completed for that reason still has
// its deadline.
//
// # Bytes out
//
// Output waits in the reactor's queue, but for at most two chunks of 72 KiB for each stream. A connection's chunks go to quic-go in the
// order in which they came, so that frames leave in one piece. The datagrams of all connections of a socket wait for its loop and leave
// with one system call a turn (sendmmsg, UDP_SEGMENT); those that a listener has for connections of one peer share messages, as far as
// their lengths and each connection's order allow. Packets of handshakes do not wait.
//
// # Ends
//
// A stream that ends cleanly in both directions is a clean close. One that a protocol aborts is reset, and a connection that is closed
// is closed, with a Code that stands for a reason of the canon; the other end's causes carry the reason (Error). Reactor.Shutdown
// refuses new connections, lets streams take their leave as on TLS, and closes each connection with CodeShuttingDown after its last
// stream, when what it has sent is acknowledged.
//
// # Costs
//
// A connection takes some 60 KiB after its handshake, most of it quic-go's, an idle stream some 6 KiB. Loops compete
// with quic-go's goroutines for the processors; fewer loops than cores have not been found to be better.
package quic
