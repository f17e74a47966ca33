//go:build race

package udp

// raceEnabled: under the race detector a sync.Pool forgets at random, to find those who rely on it.
const raceEnabled = true
