package tor

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ron-transport/ron-transport/tor/control"
)

// onionVersion is that of the addresses (rend-spec-v3, 6).
const onionVersion = 3

// onionLen is the length of an address without ".onion".
const onionLen = 56

var onionCoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// onionChecksum is the two bytes that guard an address against misprints.
func onionChecksum(pub []byte) []byte {
	sum := sha3.Sum256(append(append([]byte(".onion checksum"), pub...), onionVersion))
	return sum[:2]
}

// onionID is the address of a public key, without ".onion".
func onionID(pub ed25519.PublicKey) string {
	b := append(append(append([]byte{}, pub...), onionChecksum(pub)...), onionVersion)
	return onionCoding.EncodeToString(b)
}

// parseOnion checks an address without ".onion" and returns the public key in it.
func parseOnion(id string) (ed25519.PublicKey, error) {
	if len(id) != onionLen {
		return nil, fmt.Errorf("a version 3 onion address has %d characters before .onion, this one %d", onionLen, len(id))
	}
	b, err := onionCoding.DecodeString(id)
	if err != nil {
		return nil, errors.New("an onion address is made of the letters a to z and the digits 2 to 7")
	}
	pub := ed25519.PublicKey(b[:32])
	switch {
	case b[34] != onionVersion:
		return nil, fmt.Errorf("the address is of version %d, allowed is %d", b[34], onionVersion)
	case string(onionChecksum(pub)) != string(b[32:34]):
		return nil, errors.New("the checksum is wrong: the address has a misprint")
	}
	return pub, nil
}

// onionKey is the key of a service: an address, and the secret as tor wants it.
type onionKey struct {
	id     string
	secret string // "ED25519-V3:…"
}

// newOnionKey makes a key.
func newOnionKey() (onionKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return onionKey{}, fmt.Errorf("tor: %w", err)
	}
	return expand(seed), nil
}

// expand makes tor's form of a key (rend-spec-v3, A.1): the two halves of the seed's hash, the first one clamped as in RFC 8032, 5.1.5.
func expand(seed []byte) onionKey {
	h := sha512.Sum512(seed)
	h[0] &= 248
	h[31] = h[31]&63 | 64
	pub := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	return onionKey{id: onionID(pub), secret: control.KeyPrefix + base64.StdEncoding.EncodeToString(h[:])}
}

// loadKey reads a service's key, or makes one and writes it when there is no file. The file has the address and tor's form of the key,
// a line each, and mode 0600; one that others may read is refused.
func loadKey(path string) (onionKey, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return createKey(path)
	}
	if err != nil {
		return onionKey{}, fmt.Errorf("tor: KeyFile: %w", err)
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		return onionKey{}, fmt.Errorf("tor: KeyFile: %w", err)
	}
	if !fi.Mode().IsRegular() || fi.Mode().Perm()&0o077 != 0 {
		return onionKey{}, fmt.Errorf("tor: KeyFile %s has mode %v, allowed is a file that only its owner may use, 0600", path, fi.Mode())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return onionKey{}, fmt.Errorf("tor: KeyFile: %w", err)
	}
	k, err := parseKey(string(b))
	if err != nil {
		return onionKey{}, fmt.Errorf("tor: KeyFile %s: %w", path, err)
	}
	return k, nil
}

// parseKey reads what createKey has written.
func parseKey(s string) (onionKey, error) {
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	if len(lines) != 2 {
		return onionKey{}, errors.New("it does not have two lines, an address and a key")
	}
	id, ok := strings.CutSuffix(lines[0], ".onion")
	if !ok {
		return onionKey{}, errors.New("its first line does not end in .onion")
	}
	if _, err := parseOnion(id); err != nil {
		return onionKey{}, err
	}
	raw, ok := strings.CutPrefix(lines[1], control.KeyPrefix)
	if b, err := base64.StdEncoding.DecodeString(raw); !ok || err != nil || len(b) != sha512.Size {
		return onionKey{}, fmt.Errorf("its second line is not %s and 64 bytes in base64", control.KeyPrefix)
	}
	return onionKey{id: id, secret: lines[1]}, nil
}

// createKey makes a key and writes it: whole, or not at all.
func createKey(path string) (onionKey, error) {
	k, err := newOnionKey()
	if err != nil {
		return k, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".onion-key-*") // mode 0600
	if err != nil {
		return k, fmt.Errorf("tor: KeyFile: %w", err)
	}
	_, err = f.WriteString(k.id + ".onion\n" + k.secret + "\n")
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Link(f.Name(), path) // fails when somebody else has been quicker
	}
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		return k, fmt.Errorf("tor: KeyFile: %w", err)
	}
	return k, nil
}
