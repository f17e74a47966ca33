package reactor

import "net"

// Protocol gives the plaintext of one connection its meaning. All methods are called on the connection's loop and must
// not block; a method may call any method of the Conn.
type Protocol interface {
	// OnOpen is called once, when bytes can flow: after accept or connect, and after the filter's handshake.
	OnOpen()

	// OnData gets all plaintext that has not been consumed, contiguous. The slice is valid until the call returns
	// (RetainInput extends that). consumed bytes are gone afterwards. need is how many bytes, counted from the first one
	// not consumed, must be there before another call can make progress; 0 when any byte may. An error is fatal: the
	// protocol has already written what it wants to say, the connection drains and closes with err as the cause.
	OnData(p []byte) (consumed, need int, err error)

	// OnEOF is called when the peer has finished sending, cleanly. With keep the connection stays open for writing until
	// the protocol calls Close; otherwise it drains and closes.
	OnEOF() (keep bool)

	// OnDrained is called when the output has fallen to the low-water mark after Writable had become false.
	OnDrained()

	// OnGoodbye is called when the reactor is about to close the connection on its own account (a deadline, a limit, a
	// shutdown). What is written in it is still sent if the peer takes it.
	OnGoodbye(cause error)

	// OnClose is called exactly once for every Protocol that was made, after everything else. cause is nil for a clean
	// close. The Conn's descriptor and buffers are gone.
	OnClose(cause error)
}

// Filter transforms the bytes between the socket and the Protocol; tls.Conn implements it. Methods are called on the
// connection's loop, except Step.
type Filter interface {
	// Handshake takes ciphertext until the handshake is complete: whole records only, and never more than the engine needs
	// next. step asks for a Step before any other call. A client asks for one at once, on Handshake(nil).
	Handshake(src []byte) (consumed int, step bool, err error)

	// Step runs the part of the handshake that is heavy on the CPU. It runs on a worker goroutine; the loop calls nothing
	// else meanwhile. done: the handshake is complete.
	Step() (done bool, err error)

	// Output appends pending handshake bytes to dst, also the alert after a failed Step.
	Output(dst []byte) []byte

	// Open appends the plaintext of the whole records in src to dst, as far as it fits in dst's capacity. It returns io.EOF
	// when the peer has said goodbye.
	Open(dst, src []byte) (out []byte, consumed int, err error)

	// Seal appends records that carry src to dst. With mutable, bytes of src and the one behind it within its capacity may
	// be changed during the call, and are restored.
	Seal(dst, src []byte, mutable bool) (out []byte, err error)

	// SealedSize is the most that Seal appends for n bytes.
	SealedSize(n int) int

	// NextRecord is the total length of the record at the start of src, or the length of a header while that is unknown.
	NextRecord(src []byte) int

	// Finish appends the goodbye (cause nil) or the alert that cause calls for. Nothing is sealed afterwards.
	Finish(dst []byte, cause error) []byte

	// EOF is asked when the socket has ended: nil if the peer had said goodbye, else the error that the handler sees.
	EOF() error

	// Release ends a parked engine and drops keys. Idempotent.
	Release()
}

// HeadSealer is implemented by filters that seal a frame's header and its payload into one record without joining them first.
// SealHead appends what Seal would append for head and body, one behind the other; they are at most one record's data together
// (16384 bytes, RFC 8446, 5.1). Loop only.
type HeadSealer interface {
	SealHead(dst, head, body []byte) (out []byte, err error)
}

// Leaver is implemented by protocols that want to answer what is still under way when Shutdown begins. OnShutdown says
// goodbye. With stay the connection is read and answered on until the peer ends its stream, the protocol calls Close, or
// Config.ShutdownGrace is over; the protocol then sees OnEOF as if the peer had ended, and may keep the connection for
// replies until Shutdown's context ends. Without stay, and for other protocols, it is OnGoodbye and the end of reading at
// once. Loop only.
type Leaver interface{ OnShutdown() (stay bool) }

// Binder is implemented by filters that want to know the connection's addresses. Bind is called once, before Handshake.
type Binder interface {
	Bind(c interface {
		LocalAddr() net.Addr
		RemoteAddr() net.Addr
	})
}

// Agreer is implemented by filters that can tell, for the counters, what their handshake has agreed on: the name of the key
// exchange, one of a few, and whether an earlier session was resumed. It is called once, after Step has reported done. Loop only.
type Agreer interface {
	Agreed() (keyExchange string, resumed bool)
}

// Refuser is implemented by filters that can tell a peer that it is refused without a handshake. Refuse appends the bytes
// that say so; nothing but Release is called afterwards. It is called before Handshake. Loop only.
type Refuser interface{ Refuse(dst []byte) []byte }

// Sleeper is implemented by filters that hold memory which can be rebuilt. Sleep is called when no byte has moved for some
// seconds. Loop only.
type Sleeper interface{ Sleep() }
