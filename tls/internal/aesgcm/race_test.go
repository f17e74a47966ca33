//go:build race

package aesgcm

// raceEnabled thins the tests out: the race detector makes their Go part some ten times slower.
const raceEnabled = true
