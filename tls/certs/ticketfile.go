package certs

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// TicketKey is a key that session tickets are encrypted with, and when it was made. No fmt verb shows the key.
type TicketKey struct {
	made time.Time // UTC, whole seconds
	key  [32]byte
}

// NewTicketKey makes a random key that counts from made on (whole seconds). Any goroutine.
func NewTicketKey(made time.Time) TicketKey {
	k := TicketKey{made: made.UTC().Truncate(time.Second)}
	_, _ = rand.Read(k.key[:]) // never fails
	return k
}

// Made is when the key was made. Any goroutine.
func (k TicketKey) Made() time.Time { return k.made }

// Format implements fmt.Formatter: whatever the verb, the time is shown and the key is not. Any goroutine.
func (k TicketKey) Format(s fmt.State, _ rune) {
	_, _ = fmt.Fprintf(s, "ticket key of %s", k.made.Format(time.RFC3339))
}

const (
	ticketTime   = "2006-01-02T15:04:05Z"
	ticketHeader = "# Session ticket keys, newest first: when it was made, 32 bytes in hexadecimal. The first encrypts, all decrypt.\n"
)

// ParseTicketFile reads the format that nodes share ticket keys in. It is text: one key a line, newest first, each line made of the
// time at which the key was made (UTC, as in 2026-11-24T06:00:00Z), one space, and the 32 bytes of the key as 64 hexadecimal digits.
// Lines that are empty or begin with # say nothing. The first key encrypts, all decrypt. 1 … 16 keys, none of them twice, none made
// of one repeated byte; at most 8192 bytes. Errors name the line, never its content. Any goroutine.
func ParseTicketFile(b []byte) ([]TicketKey, error) {
	if len(b) > maxTicketFile {
		return nil, fmt.Errorf("certs: ticket key file has %d bytes; allowed: up to %d", len(b), maxTicketFile)
	}
	var keys []TicketKey
	for i, line := range strings.Split(string(b), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := parseTicketKey(line)
		if err != nil {
			return nil, fmt.Errorf("certs: ticket key file, line %d: %w", i+1, err)
		}
		if len(keys) > 0 && k.made.After(keys[len(keys)-1].made) {
			return nil, fmt.Errorf("certs: ticket key file, line %d: the key is newer than the one before; the newest comes first", i+1)
		}
		if slices.ContainsFunc(keys, func(o TicketKey) bool { return o.key == k.key }) {
			return nil, fmt.Errorf("certs: ticket key file, line %d: the key is there twice", i+1)
		}
		keys = append(keys, k)
	}
	if n := len(keys); n < 1 || n > maxTicketKeys {
		return nil, fmt.Errorf("certs: ticket key file has %d keys; allowed: 1 to %d", n, maxTicketKeys)
	}
	return keys, nil
}

func parseTicketKey(line string) (k TicketKey, err error) {
	when, digits, ok := strings.Cut(line, " ")
	if !ok {
		return k, errors.New("no space; allowed: time, space, 64 hexadecimal digits")
	}
	// Parse alone would also take fractions of a second.
	if k.made, err = time.Parse(ticketTime, when); err != nil || k.made.Format(ticketTime) != when {
		return k, errors.New("the time is not like 2026-11-24T06:00:00Z")
	}
	if len(digits) != 2*len(k.key) {
		return k, fmt.Errorf("%d characters after the space; allowed: %d hexadecimal digits", len(digits), 2*len(k.key))
	}
	if _, err := hex.Decode(k.key[:], []byte(digits)); err != nil {
		return k, errors.New("the key is not hexadecimal")
	}
	return k, k.judge()
}

// judge refuses a placeholder.
func (k TicketKey) judge() error {
	for _, b := range k.key {
		if b != k.key[0] {
			return nil
		}
	}
	return errors.New("the key is one byte repeated; allowed: random keys")
}

// FormatTicketFile writes keys, newest first, as ParseTicketFile reads them. Any goroutine.
func FormatTicketFile(keys []TicketKey) ([]byte, error) {
	b := []byte(ticketHeader)
	for _, k := range keys {
		b = k.made.AppendFormat(b, ticketTime)
		b = append(b, ' ')
		b = hex.AppendEncode(b, k.key[:])
		b = append(b, '\n')
	}
	if _, err := ParseTicketFile(b); err != nil {
		return nil, err // an order, a number or a year that readers would refuse
	}
	return b, nil
}

// ReadTicketFile reads a ticket key file. One that group or others may read or write is refused. Any goroutine.
func ReadTicketFile(path string) ([]TicketKey, error) {
	b, err := readFile(path, maxTicketFile, true)
	if err != nil {
		return nil, fmt.Errorf("certs: ticket key file: %w", err)
	}
	keys, err := ParseTicketFile(b)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, path)
	}
	return keys, nil
}

// WriteTicketFile replaces a ticket key file in one step, with mode 0600: a reader sees the old or the new keys. Where path is a
// symbolic link, the file it leads to is replaced. Any goroutine; with two writers the last one wins.
func WriteTicketFile(path string, keys []TicketKey) error {
	b, err := FormatTicketFile(keys)
	if err != nil {
		return err
	}
	if err := writeSecret(path, b); err != nil {
		return fmt.Errorf("certs: ticket key file: %w", err)
	}
	return nil
}

// RotateTicketFile puts a new key, made now, in front of those in a file and keeps up to keep (0 … 15) of them for decryption. A file
// that is missing is created. It is what an owner outside of any Store uses, such as a scheduled job. Any goroutine.
func RotateTicketFile(path string, now time.Time, keep int) error {
	if keep < 0 || keep > maxKeepKeys {
		return fmt.Errorf("certs: RotateTicketFile got keep %d; allowed: 0 to %d", keep, maxKeepKeys)
	}
	old, err := ReadTicketFile(path)
	if err != nil && !isMissing(err) {
		return err
	}
	return WriteTicketFile(path, rotated(old, now, keep))
}

// rotated puts a new key in front of keep old ones, without those whose tickets are all past their life.
func rotated(old []TicketKey, now time.Time, keep int) []TicketKey {
	keys := append([]TicketKey{NewTicketKey(now)}, old...)
	for i := range keys[1:] {
		if k := &keys[1+i]; k.made.After(keys[0].made) {
			k.made = keys[0].made // made by a clock ahead of ours; the order must hold, and the key must end one day
		}
	}
	return trimmed(keys, now, keep)
}

// trimmed leaves the first of keys, and of the others up to keep whose tickets may be within their life: a key stops encrypting at
// the age of maxRotate at the latest.
func trimmed(keys []TicketKey, now time.Time, keep int) []TicketKey {
	keys = keys[:min(len(keys), 1+max(keep, 0))]
	for len(keys) > 1 && now.Sub(keys[len(keys)-1].made) > maxRotate+MaxTicketLife {
		keys = keys[:len(keys)-1]
	}
	return keys
}
