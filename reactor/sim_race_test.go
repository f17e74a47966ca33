//go:build race

package reactor

// raceEnabled: the race detector makes everything ten times as slow.
const raceEnabled = true
