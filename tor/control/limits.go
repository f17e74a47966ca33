package control

import "time"

const (
	// maxReply bounds one reply or event, in bytes: a consensus, the largest thing GETINFO returns, has some 3 MiB.
	maxReply = 16 << 20
	// maxPending is how many commands may wait for their replies. Tor answers in order, and one command at a time takes
	// milliseconds, so that more means that tor hangs.
	maxPending = 256
	// maxCommand bounds a command line: the longest that is of use here is ADD_ONION with some hundred authorized clients.
	maxCommand = 64 << 10
	// maxPorts and maxClients bound what one ADD_ONION may ask for, so that it fits in a line.
	maxPorts   = 64
	maxClients = 512
	// cookieLen is the length of tor's cookie and of the nonces of SAFECOOKIE (control-spec 3.24). A file of another length is none.
	cookieLen = 32
	// DefaultBackoffMin and DefaultBackoffMax bound the pause before a Link tries again: it doubles from one to the other. A tor that
	// restarts has its control port open after some 50 ms.
	DefaultBackoffMin = 50 * time.Millisecond
	DefaultBackoffMax = 5 * time.Second
	// DefaultConnectTimeout bounds connect, authentication and LinkConfig.OnUp together. Tor answers within milliseconds unless it
	// is starting, when it may compute for seconds.
	DefaultConnectTimeout = 30 * time.Second
	minTimeout            = time.Millisecond
	maxTimeout            = time.Hour
)
