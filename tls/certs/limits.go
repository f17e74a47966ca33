package certs

import "time"

// Defaults of Config. Each is the value used when the field is zero.
const (
	// DefaultInterval is how often the files are looked at. Reading a few small files costs nothing at that rate, and nobody waits
	// longer than ten seconds to see a renewal.
	DefaultInterval = 10 * time.Second
	// DefaultExpiryWarning is how long before its end a certificate that has not been renewed is complained about: half of the time
	// that the usual automatic renewal (30 days before the end) leaves.
	DefaultExpiryWarning = 14 * 24 * time.Hour
	// DefaultRotate is the age at which a ticket key stops encrypting (seed §3: rotate daily).
	DefaultRotate = 24 * time.Hour
	// DefaultFetchTimeout bounds one request to an OCSP responder, from its connect to the last byte.
	DefaultFetchTimeout = 10 * time.Second
)

// Ranges that New accepts.
const (
	minInterval = 100 * time.Millisecond // a poll reads and hashes every file
	maxInterval = 24 * time.Hour
	minRotate   = time.Minute // shorter, and the nodes that watch the file are always behind
	maxRotate   = MaxTicketLife
	minTimeout  = 100 * time.Millisecond
	maxTimeout  = time.Minute // a fetch delays the watching of files
	maxPairs    = 1024        // beyond, one poll reads more files than a second is good for
	maxKeepKeys = 15          // with the one in use 16: each is tried on every ticket that matches none
	maxSetters  = 64          // servers that share the ticket keys: a bound on what a forgetful caller can leave behind
)

// MaxTicketLife is how long a session ticket may live (RFC 8446, 4.6.1), so no ticket key is of use longer than this after it has
// stopped encrypting.
const MaxTicketLife = 7 * 24 * time.Hour

// Fixed limits.
const (
	// maxPEM bounds a certificate or key file in bytes. The longest real chains have some 20 KiB.
	maxPEM = 256 << 10
	// maxTicketFile bounds a ticket key file: 16 keys have 1.4 KB, the rest is for comments.
	maxTicketFile = 8 << 10
	// maxLinks is how many symbolic links may lead to a key, as in Linux's own path walk.
	maxLinks = 40
	// leftoverAge is when a file that somebody has begun to write counts as abandoned. Writing takes milliseconds.
	leftoverAge = time.Minute
	// maxTicketKeys is how many keys a ticket file may hold.
	maxTicketKeys = maxKeepKeys + 1
	// minRSABits: TLS 1.3 signs with RSA-PSS; below 2048 bits no public CA signs, and NIST SP 800-131A forbids it.
	minRSABits = 2048

	// maxResponse bounds an OCSP answer in bytes. One with a delegated responder's RSA-4096 certificate has 3 KB.
	maxResponse = 64 << 10
	// maxHeader bounds the header of a responder's HTTP answer in bytes.
	maxHeader = 16 << 10
	// maxRedirects of one request, all within its scheme.
	maxRedirects = 3
	// maxGET is the longest GET request, in bytes of its path (RFC 5019, 5).
	maxGET = 255

	// clockSkew is by how much a responder's clock may be ahead of ours, and how long before nextUpdate a staple is dropped so that
	// a client whose clock is ahead does not see an expired one.
	clockSkew = 5 * time.Minute
	// minRefresh keeps a responder whose answers are short-lived from being asked more often.
	minRefresh = time.Minute
	// maxRefresh: an answer that lives for long is renewed all the same, so that a revocation is known within a day.
	maxRefresh = 24 * time.Hour
	// backoffMin and backoffMax bound the pause after a failed fetch, which doubles with each failure in a row.
	backoffMin = time.Minute
	backoffMax = time.Hour

	// retryRotation is the pause after a ticket key file could not be written.
	retryRotation = time.Minute
	// maxIdle is the longest that Run sleeps: what depends on the date alone (expiry warnings) is noticed within it.
	maxIdle = time.Hour
)
