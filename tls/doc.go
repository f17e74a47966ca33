// Package tls is TLS 1.3 (RFC 8446) as a filter without I/O: ciphertext goes in, plaintext comes out, and the reverse. It
// opens no socket, starts no goroutine that the scheduler would run, and reads no clock of its own, so it works inside an event
// loop, inside another engine, or over a plain net.Conn.
//
// crypto/tls shakes hands; from then on a record layer of this package, keyed with the traffic secrets that crypto/tls hands to
// its KeyLogWriter, carries the data. One [Conn] is one connection:
//
//	Handshake/Step/Output   until Step reports done
//	Open/Seal               afterwards
//	Finish                  the last record: close_notify or an alert
//	Release                 on every path, at the end
//
// The methods marked "Loop only" must be called one at a time, by whoever owns the connection. Step alone may run on another
// goroutine, as long as nothing but Release is called meanwhile. The goroutines that call Step and Release must not be locked to
// an operating-system thread: the engine is a coroutine, and the runtime forbids switching to one across thread locks.
//
// # Known attacks and what answers them
//
//   - Truncation (a FIN forged by the network): [Conn.EOF] tells a clean end (close_notify seen) from a cut one.
//   - Nonce reuse: crypto/tls and this record layer use the same application keys, so nothing that crypto/tls writes after the
//     handover may leave, and the write sequence starts where crypto/tls stopped. That number is found by opening what it wrote,
//     never assumed: a session ticket takes none, one or several records.
//   - Key wear-out (RFC 8446, 5.5): the write key is replaced before the AEAD's limit.
//   - Amplification by cheap records: empty records, key updates, user_canceled alerts and tickets are counted, and each has a
//     bound. A peer's many key update requests get one answer, with our next data.
//   - Memory exhaustion before authentication: a server creates nothing until a whole ClientHello is there, and bounds its size and
//     that of the name in it, also when it is sent again for another group. A client that is asked for no certificate cannot send one.
//     A peer can be refused before that, see [Conn.Refuse].
//   - Memory of idle connections: one that [Conn.Sleep] was called on holds some 200 bytes.
//   - Recording today for a quantum computer of tomorrow: hybrid key exchange is on unless [Config].KeyExchange says otherwise.
//   - Splicing across key changes: a message may not span a KeyUpdate, and the pieces of a message may not be interleaved with
//     other records.
//   - Cross-protocol confusion (ALPACA, plain HTTP, SSLv2): the first byte that cannot belong to a TLS handshake ends the
//     connection with an alert; a client that offers only foreign ALPN protocols is refused.
//   - Downgrade: only TLS 1.3 is spoken, whatever the configuration's callbacks return.
//   - Replay of early data: 0-RTT is neither offered nor accepted; a client that announces it is refused.
//   - Session mix-up: a client without a server name does not use the session cache, whose key would be the same for all peers.
//   - Padding: a record's length is judged after authentication only, and padding is removed before anyone sees the plaintext.
//
// Keys are overwritten on Release, and at each key update, where this package holds them: with AES-GCM of our own (see [AESGCM]) the
// key schedules, too. The secrets pass through crypto/tls's key log as hexadecimal text on the heap, and the AEAD objects of the
// standard library and of x/crypto keep their key schedules until they are collected: neither can be wiped from here.
package tls
