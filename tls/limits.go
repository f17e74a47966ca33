package tls

const (
	recordHeaderLen = 5  // type, legacy version, length (RFC 8446, 5.1)
	tagLen          = 16 // of every TLS 1.3 AEAD in use
	maxPlaintext    = 1 << 14
	maxInner        = maxPlaintext + 1   // content, its type and padding together (RFC 8446, 5.4)
	maxCiphertext   = maxPlaintext + 256 // RFC 8446, 5.2

	// recordOverhead is what one record costs beside its content: header, content type, tag.
	recordOverhead = recordHeaderLen + 1 + tagLen
	// keyUpdateLen is a KeyUpdate message (header 4, value 1) as a record.
	keyUpdateLen = recordOverhead + 5

	// maxSecretLen is a SHA-384 secret, the longest of the suites.
	maxSecretLen = 48
	ivLen        = 12

	// DefaultMaxClientHello bounds a ClientHello in bytes. It is what crypto/tls itself accepts; a real one, with a post-quantum
	// key share and a ticket that carries a certificate chain, stays far below.
	DefaultMaxClientHello = 64 << 10
	// MinMaxClientHello is the least value of Config.MaxClientHello: a plain TLS 1.3 ClientHello has 200 to 500 bytes.
	MinMaxClientHello = 512

	// DefaultRecordsPerKey is after how many records the write key is replaced. RFC 8446, 5.5 allows AES-GCM 2^24.5 full records;
	// 2^24 keeps a margin and costs one key derivation per 256 GiB.
	DefaultRecordsPerKey = 1 << 24

	// maxBatchedCCS is how many change_cipher_spec records of the handshake are collected before crypto/tls must look at them. It
	// drops 16 itself; one more makes it refuse the peer.
	maxBatchedCCS = 17

	// maxHelloStart is as much of a ServerHello as says which suite it chooses: its header, version, random, the longest session ID that
	// its length field allows, and the suite.
	maxHelloStart = messageHeaderLen + 2 + 32 + 1 + 255 + 2

	// maxUnaskedFlight is how many bytes of protected records a server reads from a client that it asked for no certificate. Only a
	// Finished is due, padded perhaps; crypto/tls would collect a certificate of 256 KiB before it refused it.
	maxUnaskedFlight = 2 * maxCiphertext

	// maxCheckedRecord is up to which length, in bytes with its header, a protected record of the handshake is opened to see
	// whether it is an alert of ours, or a change_cipher_spec of the peer's. A Finished has 58 and more, so good handshakes do not
	// pay for it; a change_cipher_spec that is padded beyond it is dropped by crypto/tls, which allows 16.
	maxCheckedRecord = 48

	// The runs below count records that carry no application data. A peer has no reason for more, and each costs us a decryption:
	// the values are those of BoringSSL, and application data resets them. A KeyUpdate that answers a request of ours is
	// not counted.
	maxEmptyRun    = 32
	maxUpdateRun   = 32
	maxCanceledRun = 4
	// maxTicketRun is larger: a server may hand out many tickets at once for a client that opens many connections.
	maxTicketRun = 128

	// maxServerName bounds the name a client asks for, in bytes, because the connection keeps it: a DNS name has at most 253 characters
	// (RFC 1035, 2.3.4), while the extension could hold as much as the ClientHello.
	maxServerName = 255

	// handshakeStack is how many bytes of stack a handshake is given before it starts. A ClientHello with a post-quantum key share takes
	// crypto/tls to 16 KiB, the next power of two; reaching it in steps costs 5 % of a handshake.
	handshakeStack = 12 << 10

	// maxMessage bounds a handshake message after the handshake, as crypto/tls does: a ticket may hold a certificate chain.
	maxMessage = 64 << 10
)
