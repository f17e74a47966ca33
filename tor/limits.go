package tor

import "time"

const (
	// DefaultBootstrapTimeout is after which a tor that has not bootstrapped counts as failed (seed §3: 60–120 s). It goes on trying.
	DefaultBootstrapTimeout = 90 * time.Second
	minBootstrap            = time.Second
	maxBootstrap            = 10 * time.Minute
	// DefaultDialTimeout bounds a dial with the handshake of the filter behind it. Tor itself gives up a stream after two minutes
	// (SocksTimeout); a rendezvous on the public network takes some seconds, and some tens of them when a relay on the way is gone.
	DefaultDialTimeout = time.Minute
	// DefaultPort is the virtual port of an onion service.
	DefaultPort = 443
	// retryBootstrap is what is told to those who come before tor has bootstrapped, retryPublish before the descriptor is published,
	// and retryDown while tor is being restarted or cannot be reached: about how long each still takes.
	retryBootstrap = 5 * time.Second
	retryPublish   = 2 * time.Second
	retryDown      = time.Second
	// retryDescriptor is for a service whose descriptor is not there: it may be about to be published.
	retryDescriptor = 2 * time.Second
	// retryRefused is the pause before tor is told again of a service that it has refused. Most refusals are for good.
	retryRefused = 30 * time.Second
	// commandTime bounds a single command to tor.
	commandTime = 10 * time.Second
	// restartMin and restartMax bound the pause before a tor that has ended is started again; it doubles, and begins anew when one has
	// run for restartMax.
	restartMin = 250 * time.Millisecond
	restartMax = 30 * time.Second
	// stopGrace is for tor's own end. It writes its state then.
	stopGrace = 5 * time.Second
	// backoffMax is the longest pause between attempts to reach the control port of a tor on this machine.
	backoffMax = 2 * time.Second
	// maxIsolation bounds DialConfig.Isolation: a SOCKS password (RFC 1929, 2).
	maxIsolation = 255
	// maxSocketDir is the longest data directory: sockets have at most 107 bytes (unix(7)), of which their names take up to 30.
	maxSocketDir = 77
	// maxServices bounds the onion services of one Tor; each keeps some ten circuits.
	maxServices = 64
	// maxKeyFile bounds what is read of a key's file, which has 100 bytes.
	maxKeyFile = 1 << 10
)
