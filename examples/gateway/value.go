package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ron-transport/ron-transport/examples/gateway/setting"
	"github.com/ron-transport/ron-transport/tls"
)

// value is a field of a Config as all sources see it: a text, as on the command line.
type value struct {
	kind setting.Kind
	set  func(string) error // its error says what is allowed
	get  func() string
}

func text(p *string) value {
	return value{setting.Text, func(s string) error { *p = s; return nil }, func() string { return *p }}
}

func oneOf(p *string, words ...string) value {
	return value{setting.Text, func(s string) error {
		if !slices.Contains(words, s) {
			return fmt.Errorf("allowed are %s", strings.Join(words, ", "))
		}
		*p = s
		return nil
	}, func() string { return *p }}
}

func level(p *slog.Level) value {
	return value{setting.Text, func(s string) error {
		for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			if strings.EqualFold(s, l.String()) {
				*p = l
				return nil
			}
		}
		return fmt.Errorf("allowed are debug, info, warn, error")
	}, func() string { return strings.ToLower(p.String()) }}
}

func aesGCM(p *tls.AESGCM) value {
	return value{setting.Text, func(s string) (err error) {
		*p, err = tls.ParseAESGCM(s)
		return err
	}, func() string { return p.String() }}
}

func integer(p *int) value {
	return value{setting.Integer, func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("allowed are whole numbers")
		}
		*p = n
		return nil
	}, func() string { return strconv.Itoa(*p) }}
}

// number is an integer with bounds of our own.
func number(p *int, least, most int) value {
	v := integer(p)
	v.set = func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return fmt.Errorf("allowed are %d to %d", least, most)
		}
		*p = n
		return nil
	}
	return v
}

func duration(p *time.Duration) value {
	return value{setting.Duration, func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("allowed are durations such as 500ms, 30s, 24h")
		}
		*p = d
		return nil
	}, func() string { return p.String() }}
}

// span is a duration with bounds of our own.
func span(p *time.Duration, least, most time.Duration) value {
	v := duration(p)
	v.set = func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > most {
			return fmt.Errorf("allowed are %v to %v", least, most)
		}
		*p = d
		return nil
	}
	return v
}

// atMost is a duration with an upper bound of our own; negative ones are allowed.
func atMost(p *time.Duration, most time.Duration) value {
	v := duration(p)
	v.set = func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d > most {
			return fmt.Errorf("allowed are up to %v, negative for never", most)
		}
		*p = d
		return nil
	}
	return v
}

func boolean(p *bool) value {
	return value{setting.Boolean, func(s string) error {
		switch s {
		case "true", "false":
			*p = s == "true"
			return nil
		}
		return fmt.Errorf("allowed are true, false")
	}, func() string { return strconv.FormatBool(*p) }}
}

// not is a boolean for a field that says the opposite.
func not(p *bool) value {
	v := boolean(p)
	set := v.set
	v.set = func(s string) error {
		old := *p
		if err := set(s); err != nil {
			*p = old
			return err
		}
		*p = !*p
		return nil
	}
	v.get = func() string { return strconv.FormatBool(!*p) }
	return v
}

func list(p *[]string) value {
	return value{setting.List, func(s string) error { *p = setting.Split(s); return nil }, func() string { return strings.Join(*p, ",") }}
}

// listOf is a list of what parse makes of a word and show makes a word of. parse's error says what is allowed.
func listOf[T any](p *[]T, parse func(string) (T, error), show func(T) string) value {
	return value{setting.List, func(s string) error {
		var all []T
		for _, w := range setting.Split(s) {
			v, err := parse(w)
			if err != nil {
				return err
			}
			all = append(all, v)
		}
		*p = all
		return nil
	}, func() string {
		var all []string
		for _, v := range *p {
			all = append(all, show(v))
		}
		return strings.Join(all, ",")
	}}
}

// prefixes is a list of networks, of which an address is the smallest.
func prefixes(p *[]netip.Prefix) value {
	return listOf(p, func(w string) (netip.Prefix, error) {
		n, err := netip.ParsePrefix(w)
		if a, aerr := netip.ParseAddr(w); aerr == nil && a.Zone() == "" {
			n, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || n != n.Masked() {
			return n, fmt.Errorf("%q is not, allowed are IP addresses, and prefixes such as 10.1.0.0/16", w)
		}
		return n, nil
	}, netip.Prefix.String)
}

// ids is a list of app_proto_ids.
func ids(p *[]uint16) value {
	return listOf(p, func(w string) (uint16, error) {
		n, err := strconv.ParseUint(w, 10, 16)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("%q is not, allowed are 1 to 65535", w)
		}
		return uint16(n), nil
	}, func(n uint16) string { return strconv.Itoa(int(n)) })
}
