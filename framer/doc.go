// Package framer is OAP/1: the frame codec, and the Session that turns a connection's bytes into frames for a Handler.
//
// It is sans-IO: bytes in, frames out. It starts no goroutine, opens no socket and reads no clock. A Session writes
// through the Transport interface, which reactor.Conn implements, and implements reactor.Protocol in turn; neither
// package imports the other.
//
// The decoder judges a frame by its header as soon as the bytes that decide are there, and its cost does not depend on
// what else is buffered. Frames are handed out in place: Cap and Payload are slices of the input, valid until the
// callback returns. Frame.Retain extends that, and holds in-flight permits of the connection.
package framer
