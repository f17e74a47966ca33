package load

import (
	"fmt"
	"strconv"
	"strings"
)

// Part is one size of a mixed load.
type Part struct {
	Payload int // bytes of each of its requests and replies
	Weight  int // its share, as a number of requests
}

// parts are the sizes of a load: one where it is not mixed.
func (c *Config) parts() []Part {
	if len(c.Mix) == 0 {
		return []Part{{Payload: c.Payload, Weight: 1}}
	}
	return c.Mix
}

// largest is the largest payload of the load.
func (c *Config) largest() int {
	n := 0
	for _, p := range c.parts() {
		n = max(n, p.Payload)
	}
	return n
}

// mixAllowed is the form of --mix.
func mixAllowed() string {
	return fmt.Sprintf("payload:weight,… with 2 to %d different payloads of 0 to %d bytes and weights of 1 to %d", MaxParts, MaxPayload, MaxWeight)
}

// ParseMix reads "payload:weight,payload:weight"; an empty text is no mix.
func ParseMix(s string) ([]Part, error) {
	if s == "" {
		return nil, nil
	}
	var mix []Part
	for part := range strings.SplitSeq(s, ",") {
		size, weight, ok := strings.Cut(part, ":")
		n, err := strconv.Atoi(size)
		w, werr := strconv.Atoi(weight)
		if !ok || err != nil || werr != nil {
			return nil, &FlagError{Flag: "mix", Value: strconv.Quote(s), Allowed: mixAllowed()}
		}
		mix = append(mix, Part{n, w})
	}
	return mix, checkMix(mix)
}

// MixString is what ParseMix reads.
func MixString(mix []Part) string {
	var out []string
	for _, p := range mix {
		out = append(out, fmt.Sprintf("%d:%d", p.Payload, p.Weight))
	}
	return strings.Join(out, ",")
}

// checkMix judges a mix; none is one, too.
func checkMix(mix []Part) error {
	if len(mix) == 0 {
		return nil
	}
	ok := len(mix) >= 2 && len(mix) <= MaxParts
	seen := make(map[int]bool)
	for _, p := range mix {
		ok = ok && p.Payload >= 0 && p.Payload <= MaxPayload && p.Weight >= 1 && p.Weight <= MaxWeight && !seen[p.Payload]
		seen[p.Payload] = true
	}
	if !ok {
		return &FlagError{Flag: "mix", Value: MixString(mix), Allowed: mixAllowed()}
	}
	return nil
}

// cycle is the order in which the parts come, again and again: next is the one furthest behind its share, so that no size comes in bursts.
func cycle(parts []Part) []uint8 {
	div, total := 0, 0
	for _, p := range parts {
		div = gcd(div, p.Weight)
	}
	for _, p := range parts {
		total += p.Weight / div
	}
	behind := make([]int, len(parts))
	out := make([]uint8, total)
	for i := range out {
		next := 0
		for p := range parts {
			behind[p] += parts[p].Weight / div
			if behind[p] > behind[next] {
				next = p
			}
		}
		behind[next] -= total
		out[i] = uint8(next)
	}
	return out
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// templates are the requests of a load, one for each size. Loop only.
type templates struct {
	all   []*template
	order []uint8 // which is next; nil: there is one
	cold  bool
}

func newTemplates(c *Config) *templates {
	t := &templates{cold: c.Cold}
	for _, p := range c.parts() {
		t.all = append(t.all, newTemplate(p.Payload, c.OneWay))
	}
	if len(t.all) > 1 {
		t.order = cycle(c.Mix)
	}
	return t
}

// part is the number of the template of request seq of a connection. Neighbours are at different places of the cycle.
func (t *templates) part(conn int, seq uint64) int {
	if t.order == nil {
		return 0
	}
	if t.cold {
		conn = 0 // requests are numbered over all connections, and which of them is free follows the same numbers
	}
	return int(t.order[(seq+uint64(conn))%uint64(len(t.order))])
}

// of is the template of request seq of a connection.
func (t *templates) of(conn int, seq uint64) *template { return t.all[t.part(conn, seq)] }

// clone are templates that another goroutine may patch.
func (t *templates) clone() *templates {
	c := &templates{order: t.order}
	for _, one := range t.all {
		c.all = append(c.all, one.clone())
	}
	return c
}

// index is the number of one of the templates, -1 for a stranger.
func (t *templates) index(one *template) int {
	for i, o := range t.all {
		if o == one {
			return i
		}
	}
	return -1
}
