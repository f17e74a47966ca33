package torlab

import "time"

const (
	// DefaultRelays is the least with which clients connect: with the authority four nodes that can be introduction point,
	// rendezvous point and directory of onion services. With two relays no circuit is long enough.
	DefaultRelays = 3
	// MaxRelays and MaxClients bound the processes, each some 40 MiB.
	MaxRelays  = 16
	MaxClients = 16
	// DefaultClients: one for the onion service, one for those who dial it.
	DefaultClients = 2
	// DefaultTimeout bounds Start; on two idle cores it takes 7 s.
	DefaultTimeout = 90 * time.Second

	minTimeout = time.Second
	maxTimeout = 10 * time.Minute
	// firstVote is how long after the last relay has registered the first consensus is due. Voting, and counting the votes, are due
	// voteDelay each before that, and when that has passed, they happen at once.
	firstVote = 2 * time.Second
	// firstInterval is between two consensuses until there is one. It begins with the start, so that all relays register within the first.
	firstInterval = 30 * time.Second
	voteDelay     = 2 * time.Second
	// pollEvery is the pause between two questions to a node.
	pollEvery = 50 * time.Millisecond
	// toolTime bounds tor-gencert and tor --list-fingerprint, which make keys.
	toolTime = 30 * time.Second
	// stopGrace is for a node's own end before it is killed.
	stopGrace = 2 * time.Second
	// maxSocketDir is the longest directory: sockets have at most 107 bytes (unix(7)), of which the names in it take up to 24.
	maxSocketDir = 80
)
