package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// setter records the keys that a server would have.
type setter struct {
	keys [][32]byte
	err  error
}

func (s *setter) SetSessionTicketKeys(keys [][32]byte) error {
	s.keys = keys
	return s.err
}

func openTickets(t *testing.T, tk Tickets) (*Store, *clock, *log, *setter) {
	t.Helper()
	s, k, l := open(t, Config{Pairs: []Pair{theCA().issue(single).write(t.TempDir(), "a")}, Tickets: tk})
	r := &setter{}
	must(s.Attach(r))
	return s, k, l, r
}

// live lets d pass in steps of an hour, as Run would.
func live(s *Store, k *clock, d time.Duration) {
	for end := k.now().Add(d); k.now().Before(end); {
		k.advance(min(time.Hour, end.Sub(k.now())))
		s.turn(context.Background())
	}
}

// TestRotationInMemory: daily by default, as many previous keys as a ticket's life needs, each forgotten after it.
func TestRotationInMemory(t *testing.T) {
	s, k, l, r := openTickets(t, Tickets{})
	if len(r.keys) != 1 {
		t.Fatalf("%d keys at start", len(r.keys))
	}
	first := r.keys[0]
	if st := s.Stats(); !st.NextRotation.Equal(k.now().Add(DefaultRotate)) || st.TicketKeys != 1 {
		t.Errorf("stats %+v", st)
	}
	live(s, k, DefaultRotate-time.Hour)
	if len(r.keys) != 1 || r.keys[0] != first {
		t.Error("renewed early")
	}
	seen := map[[32]byte]bool{first: true}
	for day := 1; day <= 20; day++ {
		live(s, k, DefaultRotate)
		if want := min(day, 7) + 1; len(r.keys) != want {
			t.Fatalf("day %d: %d keys, want %d", day, len(r.keys), want)
		}
		if seen[r.keys[0]] {
			t.Fatalf("day %d: the encrypting key is an old one", day)
		}
		seen[r.keys[0]] = true
		if has := r.keys[len(r.keys)-1] == first; has != (day <= 7) {
			t.Errorf("day %d: the first key is there: %v", day, has)
		}
	}
	if got := l.take(); got != strings.TrimSpace(strings.Repeat("ticket_keys ", 20)) {
		t.Errorf("events %q", got)
	}
}

func TestRotationKeepsNone(t *testing.T) {
	s, k, _, r := openTickets(t, Tickets{Keep: -1, Rotate: time.Hour})
	first := r.keys[0]
	live(s, k, time.Hour)
	if len(r.keys) != 1 || r.keys[0] == first {
		t.Errorf("%d keys", len(r.keys))
	}
}

// TestSharedTickets: the owner writes, the others follow at their next look; a restart of the owner changes nothing.
func TestSharedTickets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tickets")
	owner, k, _, a := openTickets(t, Tickets{File: file, Owner: true, Keep: 2})
	reader, rk, events, b := openTickets(t, Tickets{File: file})
	rk.t = k.now()
	if fmt.Sprint(a.keys) != fmt.Sprint(b.keys) {
		t.Fatal("the reader has other keys")
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if !reader.Stats().NextRotation.IsZero() {
		t.Error("the reader plans to make keys")
	}
	for day := range 5 {
		live(owner, k, DefaultRotate)
		rk.advance(DefaultRotate)
		reader.turn(context.Background())
		if len(a.keys) != min(day+2, 3) || fmt.Sprint(a.keys) != fmt.Sprint(b.keys) {
			t.Fatalf("day %d: %d and %d keys", day, len(a.keys), len(b.keys))
		}
	}
	expectEvents(t, events, "ticket_keys ticket_keys ticket_keys ticket_keys ticket_keys")
	again, err := newStore(Config{Pairs: owner.cfg.Pairs, Tickets: owner.cfg.Tickets}, k.now)
	must(err)
	if again.Stats().TicketKeys != 3 || again.tickets.applied[0] != a.keys[0] {
		t.Error("a restart has lost the keys")
	}
	if left, _ := filepath.Glob(filepath.Dir(file) + "/.*"); len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

// TestSharedTicketsBadFile: a file that cannot be used changes nothing but the health.
func TestSharedTicketsBadFile(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(file string)
		want string
	}{
		{"garbage", func(f string) { must(os.WriteFile(f, []byte("garbage"), 0o600)) }, "line 1"},
		{"empty", func(f string) { must(os.WriteFile(f, nil, 0o600)) }, "has 0 keys"},
		{"readable", func(f string) { must(os.Chmod(f, 0o640)) }, "has mode 0640"},
		{"gone", func(f string) { must(os.Remove(f)) }, "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tickets")
			keys := []TicketKey{NewTicketKey(time.Now())}
			must(WriteTicketFile(file, keys))
			s, k, l, r := openTickets(t, Tickets{File: file})
			tc.harm(file)
			for range 3 {
				k.advance(DefaultInterval)
				s.turn(context.Background())
			}
			if len(r.keys) != 1 || r.keys[0] != keys[0].key {
				t.Error("the keys have changed")
			}
			expectEvents(t, l, "ticket_keys_failed")
			if err := s.Health(); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("health: %v", err)
			}
			must(WriteTicketFile(file, append([]TicketKey{NewTicketKey(k.now())}, keys...)))
			if err := s.Reload(); err != nil || s.Health() != nil || len(r.keys) != 2 {
				t.Errorf("%v, %v, %d keys", err, s.Health(), len(r.keys))
			}
		})
	}
}

// TestSharedTicketsStale: when the owner is gone, a key is not used for ever, and no ticket key outlives the tickets it can open.
func TestSharedTicketsStale(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tickets")
	k0 := NewTicketKey(time.Now())
	must(WriteTicketFile(file, []TicketKey{k0}))
	s, k, l, r := openTickets(t, Tickets{File: file})
	live(s, k, maxRotate-time.Hour)
	if len(r.keys) != 1 || s.Health() != nil {
		t.Fatalf("%d keys, %v", len(r.keys), s.Health())
	}
	live(s, k, 2*time.Hour)
	if len(r.keys) != 2 || r.keys[0] == k0.key || r.keys[1] != k0.key || !errors.Is(s.Health(), errStale) {
		t.Errorf("%d keys, %v", len(r.keys), s.Health())
	}
	expectEvents(t, l, "ticket_keys ticket_keys_stale")
	own := r.keys[0]
	live(s, k, MaxTicketLife)
	if len(r.keys) != 8 || r.keys[0] == own || r.keys[7] != own || slices.Contains(r.keys, k0.key) {
		t.Errorf("%d keys two weeks later", len(r.keys))
	}
	live(s, k, DefaultRotate) // its own are renewed and forgotten like any
	if len(r.keys) != 8 || slices.Contains(r.keys, own) {
		t.Errorf("%d keys, its first among them: %v", len(r.keys), slices.Contains(r.keys, own))
	}
	must(RotateTicketFile(file, k.now(), 3))
	if err := s.Reload(); err != nil || s.Health() != nil {
		t.Errorf("%v, %v", err, s.Health())
	}
	if len(r.keys) != 1 || s.Stats().TicketsStale {
		t.Errorf("%d keys after the renewal", len(r.keys))
	}
}

// TestOwnerCannotWrite: the owner keeps its keys, says so once, and tries again.
func TestOwnerCannotWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shared")
	must(os.Mkdir(dir, 0o700))
	file := filepath.Join(dir, "tickets")
	s, k, l, r := openTickets(t, Tickets{File: file, Owner: true})
	first := r.keys[0]
	must(os.Rename(dir, dir+".away"))
	live(s, k, DefaultRotate+3*time.Hour)
	if len(r.keys) != 1 || r.keys[0] != first || s.Health() == nil {
		t.Errorf("%d keys, %v", len(r.keys), s.Health())
	}
	if got := l.take(); !strings.HasPrefix(got, "ticket_keys_failed") || strings.Contains(got, "ticket_keys ") {
		t.Errorf("events %q", got)
	}
	must(os.Rename(dir+".away", dir))
	k.advance(retryRotation)
	s.turn(context.Background())
	if len(r.keys) != 2 || r.keys[1] != first || s.Health() != nil {
		t.Errorf("%d keys, %v", len(r.keys), s.Health())
	}
}

// TestOwnerReadsButCannotWrite: that the file can be read does not make an overdue renewal well; it is told once, and health says it
// until it is mended.
func TestOwnerReadsButCannotWrite(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, strings.Repeat("t", 250)) // there is no room for the name of a temporary file beside it
	keys, err := FormatTicketFile([]TicketKey{NewTicketKey(time.Now())})
	must(err)
	must(os.WriteFile(file, keys, 0o600))
	must(os.Symlink(file, dir+"/tickets"))
	s, k, l, r := openTickets(t, Tickets{File: dir + "/tickets", Owner: true})
	k.advance(DefaultRotate)
	for range 40 {
		s.turn(context.Background())
		if err := s.Health(); err == nil || !strings.Contains(err.Error(), "file name too long") {
			t.Fatalf("health: %v", err)
		}
		k.advance(DefaultInterval)
	}
	expectEvents(t, l, "ticket_keys_failed")
	must(os.Remove(dir + "/tickets"))
	must(os.WriteFile(dir+"/tickets", keys, 0o600))
	k.advance(retryRotation)
	s.turn(context.Background())
	if err := s.Health(); err != nil || len(r.keys) != 2 {
		t.Errorf("%v, %d keys", err, len(r.keys))
	}
}

// TestClockSetBack: a key made while the clock was years ahead does not go on encrypting until the clock is there again.
func TestClockSetBack(t *testing.T) {
	s, k, _, r := openTickets(t, Tickets{})
	first := r.keys[0]
	k.advance(-3 * 365 * 24 * time.Hour)
	s.turn(context.Background())
	if len(r.keys) != 2 || r.keys[0] == first {
		t.Fatalf("%d keys", len(r.keys))
	}
	if next := s.Stats().NextRotation; !next.Equal(k.now().Add(DefaultRotate)) {
		t.Errorf("the next renewal is at %v", next)
	}
	live(s, k, 8*DefaultRotate)
	if slices.Contains(r.keys, first) {
		t.Error("the key of the future is still there after its time")
	}
}

// TestKeyFromTheFuture: a key made by a clock that was years ahead is replaced at once.
func TestKeyFromTheFuture(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tickets")
	must(WriteTicketFile(file, []TicketKey{NewTicketKey(time.Now().AddDate(5, 0, 0))}))
	s, k, _, r := openTickets(t, Tickets{File: file, Owner: true})
	s.turn(context.Background())
	if len(r.keys) != 2 {
		t.Fatalf("%d keys", len(r.keys))
	}
	if next := s.Stats().NextRotation; next.Sub(k.now()) > DefaultRotate {
		t.Errorf("the next renewal is at %v", next)
	}
}

// TestRotationIsNotDueForEver: a key a little further ahead than is tolerated, which is tolerated by the time it is looked at, does
// not keep Run busy.
func TestRotationIsNotDueForEver(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tickets")
	start := newClock().now()
	must(WriteTicketFile(file, []TicketKey{NewTicketKey(start.Add(clockSkew + 30*time.Second))}))
	s, k, _, r := openTickets(t, Tickets{File: file, Owner: true})
	k.advance(time.Minute)
	s.turn(context.Background())
	if wait := s.turn(context.Background()); wait <= 0 || len(r.keys) != 1 {
		t.Errorf("wait %v, %d keys", wait, len(r.keys))
	}
}

// TestOwnerInOpenDirectory: an owner does not begin with a file that its readers, and itself, would refuse.
func TestOwnerInOpenDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "open")
	must(os.Mkdir(dir, 0o700))
	must(os.Chmod(dir, 0o777))
	_, err := New(Config{Pairs: []Pair{theCA().issue(single).write(t.TempDir(), "a")}, Tickets: Tickets{File: dir + "/tickets", Owner: true}})
	if err == nil || !strings.Contains(err.Error(), "not writable by others") {
		t.Errorf("error %v", err)
	}
}

func TestAttach(t *testing.T) {
	s, _, _, _ := openTickets(t, Tickets{})
	if s.Attach(nil) == nil {
		t.Error("nil accepted")
	}
	bad := errors.New("no")
	if err := s.Attach(&setter{err: bad}); err != bad {
		t.Errorf("error %v", err)
	}
	for range maxSetters - 1 {
		must(s.Attach(&setter{}))
	}
	if s.Attach(&setter{}) == nil {
		t.Error("more servers than allowed")
	}
}

func TestTicketFileFormat(t *testing.T) {
	line := "2026-11-24T06:00:00Z " + strings.Repeat("0123456789abcdef", 4) + "\n"
	older := "2026-11-23T06:00:00Z " + strings.Repeat("fedcba9876543210", 4) + "\n"
	keys, err := ParseTicketFile([]byte("# comment\n\n" + line + older))
	if err != nil || len(keys) != 2 || keys[0].Made() != time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC) || keys[0].key[1] != 0x23 {
		t.Fatalf("%v, %v", keys, err)
	}
	var many strings.Builder
	for i := range 17 {
		fmt.Fprintf(&many, "2026-11-24T06:00:00Z %064x\n", i+1)
	}
	for name, tc := range map[string]struct{ in, want string }{
		"no keys":         {"# nothing\n", "has 0 keys; allowed: 1 to 16"},
		"too many":        {many.String(), "has 17 keys"},
		"too large":       {strings.Repeat("#", maxTicketFile+1), "8193 bytes"},
		"order":           {older + line, "line 2: the key is newer"},
		"twice":           {line + line, "line 2: the key is there twice"},
		"placeholder":     {"2026-11-24T06:00:00Z " + strings.Repeat("0", 64) + "\n", "repeated"},
		"short":           {"2026-11-24T06:00:00Z 00\n", "2 characters"},
		"long":            {line[:len(line)-1] + "0\n", "65 characters"},
		"not hex":         {"2026-11-24T06:00:00Z " + strings.Repeat("x", 64) + "\n", "not hexadecimal"},
		"no time":         {strings.Repeat("0123456789abcdef", 4) + "\n", "no space"},
		"other time":      {"2026-11-24T06:00:00+01:00" + line[20:], "not like"},
		"fraction":        {"2026-11-24T06:00:00.5Z" + line[20:], "not like"},
		"carriage return": {strings.ReplaceAll(line, "\n", "\r\n"), "65 characters"},
	} {
		keys, err := ParseTicketFile([]byte(tc.in))
		if keys != nil || err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v; it must contain %q", name, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%s: the error shows a key: %v", name, err)
		}
	}
	if err := RotateTicketFile(filepath.Join(t.TempDir(), "x"), time.Now(), 16); err == nil || !strings.Contains(err.Error(), "0 to 15") {
		t.Errorf("keep 16: %v", err)
	}
	if _, err := FormatTicketFile(nil); err == nil {
		t.Error("no keys were written")
	}
}

// TestWriteThroughLink: a link to the file stays a link.
func TestWriteThroughLink(t *testing.T) {
	dir := t.TempDir()
	must(RotateTicketFile(dir+"/real", time.Now(), 1))
	must(os.Symlink("real", dir+"/link"))
	must(RotateTicketFile(dir+"/link", time.Now(), 1))
	if keys, err := ReadTicketFile(dir + "/real"); err != nil || len(keys) != 2 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	if info, err := os.Lstat(dir + "/link"); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is a %v, %v", info.Mode(), err)
	}
	must(os.Chmod(dir+"/real", 0o640))
	if RotateTicketFile(dir+"/link", time.Now(), 1) == nil {
		t.Error("a file that others read was taken for secret")
	}
}

// TestKeysAreNotPrinted: no verb, and no encoder, shows a ticket key.
func TestKeysAreNotPrinted(t *testing.T) {
	k := NewTicketKey(time.Now())
	hexKey, decKey := fmt.Sprintf("%x", k.key), strings.Trim(fmt.Sprint(k.key), "[]")
	holder := struct{ K []TicketKey }{[]TicketKey{k}}
	js, err := json.Marshal(holder)
	must(err)
	shown := string(js)
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%X", "%d", "%s", "%q"} {
		shown += fmt.Sprintf(verb, k) + fmt.Sprintf(verb, &k) + fmt.Sprintf(verb, holder)
	}
	if strings.Contains(strings.ToLower(shown), hexKey[:8]) || strings.Contains(shown, decKey[:12]) {
		t.Errorf("shown: %s", shown)
	}
}
