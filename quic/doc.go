// Package quic carries streams of QUIC (RFC 9000) as connections of a reactor: quic-go speaks the protocol, the reactor's
// loops read the UDP sockets and run the streams. A protocol written for TCP or TLS runs on a stream unchanged.
package quic
