package quic

import quicgo "github.com/quic-go/quic-go"

// Code is what we put as the application's error code (RFC 9000, §20.2) into CONNECTION_CLOSE, RESET_STREAM and STOP_SENDING,
// so that the peer can read the reason of an end. There is one for each reason of the canon (oap1.md), in the canon's order:
// append only. 0 is an end without a fault.
type Code uint64

// The codes. A peer of another make may use others; they read as CodeIO.
const (
	CodeNone               Code = iota // a clean end
	CodeBadVersion                     // bad_version
	CodeBadFlags                       // bad_flags
	CodeBadFrame                       // bad_frame
	CodeFrameTooLarge                  // frame_too_large
	CodeDecompressOverflow             // decompress_overflow
	CodeBadCompression                 // bad_compression
	CodeOverCapacity                   // over_capacity
	CodePeerLimit                      // peer_limit
	CodeRateLimited                    // rate_limited
	CodeInflightExceeded               // inflight_exceeded
	CodeHandshakeTimeout               // handshake_timeout
	CodeReadTimeout                    // read_timeout
	CodeWriteTimeout                   // write_timeout
	CodeIdleTimeout                    // idle_timeout
	CodeSlowPeer                       // slow_peer
	CodeTLS                            // tls
	CodeNotReady                       // not_ready
	CodeTorBootstrap                   // tor_bootstrap
	CodeShuttingDown                   // shutting_down
	CodeIO                             // io
	numCodes
)

var codeReasons = [numCodes]string{"", "bad_version", "bad_flags", "bad_frame", "frame_too_large", "decompress_overflow",
	"bad_compression", "over_capacity", "peer_limit", "rate_limited", "inflight_exceeded", "handshake_timeout", "read_timeout",
	"write_timeout", "idle_timeout", "slow_peer", "tls", "not_ready", "tor_bootstrap", "shutting_down", "io"}

// Reason is the canon's word; "" for CodeNone, "io" for a code we do not know. Any goroutine.
func (c Code) Reason() string {
	if c < numCodes {
		return codeReasons[c]
	}
	return codeReasons[CodeIO]
}

// CodeOf is the code of a reason of the canon; CodeIO for other words. Any goroutine.
func CodeOf(reason string) Code {
	for c := CodeNone; c < numCodes; c++ {
		if codeReasons[c] == reason {
			return c
		}
	}
	return CodeIO
}

func (c Code) app() quicgo.ApplicationErrorCode { return quicgo.ApplicationErrorCode(c) }

func (c Code) stream() quicgo.StreamErrorCode { return quicgo.StreamErrorCode(c) }
