package tor

import (
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/tor/control"
)

// good is an address that exists: that of the Tor Project's site. Nothing here connects to it.
const good = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid"

// TestParseOnion: an address with any other character in any place is none.
func TestParseOnion(t *testing.T) {
	if _, err := parseOnion(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for _, c := range "a2z7A=1" {
			if s := good[:i] + string(c) + good[i+1:]; s != good {
				if _, err := parseOnion(s); err == nil {
					t.Errorf("%s is taken", s)
				}
			}
		}
	}
	for _, s := range []string{"", good[1:], good + "a", strings.Repeat("a", 56)} {
		if _, err := parseOnion(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// TestExpand: the key of RFC 8032, 7.1, test 1, in tor's form.
func TestExpand(t *testing.T) {
	seed, _ := hex.DecodeString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
	k := expand(seed)
	pub, err := parseOnion(k.id)
	if err != nil || hex.EncodeToString(pub) != "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a" {
		t.Errorf("%x, %v", pub, err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(k.secret, control.KeyPrefix))
	if err != nil || len(raw) != 64 {
		t.Fatal(k.secret, err)
	}
	h := sha512.Sum512(seed) // tor finds out whether it goes with the address (TestEcho); here it is clamped, and otherwise the hash
	if raw[0]&7 != 0 || raw[31]>>6 != 1 || raw[0]|7 != h[0]|7 || raw[31]&0x3f != h[31]&0x3f || !bytes.Equal(raw[1:31], h[1:31]) || !bytes.Equal(raw[32:], h[32:]) {
		t.Errorf("%x of %x", raw, h)
	}
}

// misprint is s with another first letter.
func misprint(s string) string {
	if s[0] == 'a' {
		return "b" + s[1:]
	}
	return "a" + s[1:]
}

// TestKeyFile: a key comes back, and what is no key, or no secret, is refused.
func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	k, err := loadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := loadKey(path); err != nil || again != k {
		t.Errorf("%v, %v; want %v", again, err, k)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left over: %v", files)
	}
	lines := k.id + ".onion\n" + k.secret + "\n"
	for name, v := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"others may read it": {lines, 0o640},
		"empty":              {"", 0o600},
		"one line":           {k.secret + "\n", 0o600},
		"no onion":           {k.id + "\n" + k.secret + "\n", 0o600},
		"a misprint":         {misprint(lines), 0o600},
		"a short key":        {k.id + ".onion\n" + control.KeyPrefix + "AAAA\n", 0o600},
		"another kind":       {k.id + ".onion\nRSA1024:" + strings.TrimPrefix(k.secret, control.KeyPrefix) + "\n", 0o600},
		"too long":           {lines + strings.Repeat("\n", maxKeyFile), 0o600},
	} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(v.text), v.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := loadKey(p); err == nil || !strings.Contains(err.Error(), p) || strings.Contains(err.Error(), k.secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := loadKey(dir); err == nil {
		t.Error("a directory is taken for a key")
	}
	if _, err := loadKey(filepath.Join(dir, "no", "such")); err == nil {
		t.Error("a key was made where there is no directory")
	}
}
