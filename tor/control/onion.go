package control

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// KeyPrefix begins the private keys that tor writes and takes (control-spec 3.27).
const KeyPrefix = "ED25519-V3:"

// Port maps a port of an onion service to where tor connects to.
type Port struct {
	Virtual int    // 1 … 65535
	Target  string // "host:port" or "unix:/path"; "": 127.0.0.1 with the same port
}

// OnionRequest describes an onion service (control-spec 3.27). It lives as long as tor, or without Detach as the connection.
type OnionRequest struct {
	// Key is the private key, "ED25519-V3:…"; "": tor makes one.
	Key string
	// DiscardKey has tor not tell the key it makes: nobody can bring the service back, nor take it.
	DiscardKey bool
	// Detach keeps the service when this connection ends.
	Detach bool
	// NonAnonymous is for a tor in single-hop mode (HiddenServiceSingleHopMode): faster, and the service's place is no secret.
	NonAnonymous bool
	// Ports are the service's ports, 1 … 64.
	Ports []Port
	// MaxStreams is how many streams a circuit may carry at once, 0 for no limit; above it streams are refused, or with
	// CloseCircuit the circuit is closed. Up to 65535.
	MaxStreams   int
	CloseCircuit bool
	// PoW has clients pay with work when the service is flooded; PoWRate and PoWBurst bound the introductions per second that are let
	// through, 0 for tor's defaults. Not every tor is built with it: *Error then.
	PoW               bool
	PoWRate, PoWBurst int
	// ClientAuth are the public keys (ClientKey.Public) of those who may connect; without any, everybody may. Up to 512.
	ClientAuth []string
}

// Onion is a service that tor has added.
type Onion struct {
	ServiceID string // the address without ".onion"
	Key       string // the private key that tor has made; "" when one was given, or discarded
}

// AddOnion adds an onion service. *Error with CodeUnspecified when it exists already. Its descriptor is published later: events
// HS_DESC tell. Any goroutine.
func (c *Conn) AddOnion(ctx context.Context, q OnionRequest) (Onion, error) {
	line, err := q.line()
	if err != nil {
		return Onion{}, err
	}
	r, err := c.Command(ctx, line)
	if err != nil {
		return Onion{}, err
	}
	var o Onion
	for _, l := range r.Lines {
		if v, ok := strings.CutPrefix(l.Text, "ServiceID="); ok {
			o.ServiceID = v
		}
		if v, ok := strings.CutPrefix(l.Text, "PrivateKey="); ok {
			o.Key = v
		}
	}
	if o.ServiceID == "" {
		return o, fmt.Errorf("%w: ADD_ONION without a ServiceID", ErrProtocol)
	}
	return o, nil
}

// line is the command.
func (q *OnionRequest) line() (string, error) {
	if err := q.Validate(); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("ADD_ONION ")
	if b.WriteString(q.Key); q.Key == "" {
		b.WriteString("NEW:ED25519-V3")
	}
	var flags []string
	for _, f := range []struct {
		on   bool
		name string
	}{
		{q.DiscardKey, "DiscardPK"}, {q.Detach, "Detach"}, {q.NonAnonymous, "NonAnonymous"},
		{q.CloseCircuit, "MaxStreamsCloseCircuit"}, {len(q.ClientAuth) > 0, "V3Auth"},
	} {
		if f.on {
			flags = append(flags, f.name)
		}
	}
	if len(flags) > 0 {
		b.WriteString(" Flags=" + strings.Join(flags, ","))
	}
	for _, n := range []struct {
		name string
		v    int
	}{{"MaxStreams", q.MaxStreams}, {"PoWDefensesEnabled", boolInt(q.PoW)}, {"PoWQueueRate", q.PoWRate}, {"PoWQueueBurst", q.PoWBurst}} {
		if n.v != 0 {
			b.WriteString(" " + n.name + "=" + strconv.Itoa(n.v))
		}
	}
	for _, p := range q.Ports {
		b.WriteString(" Port=" + strconv.Itoa(p.Virtual))
		if p.Target != "" {
			b.WriteString("," + p.Target)
		}
	}
	for _, k := range q.ClientAuth {
		b.WriteString(" ClientAuthV3=" + k)
	}
	return b.String(), nil
}

// Validate checks the request without sending it. The error names the field. Any goroutine.
func (q *OnionRequest) Validate() error {
	switch {
	case q.Key != "" && !strings.HasPrefix(q.Key, KeyPrefix) || strings.ContainsAny(q.Key, " \r\n\x00"):
		return fmt.Errorf("control: Key does not look like one, allowed is %s with base64", KeyPrefix)
	case len(q.Ports) == 0 || len(q.Ports) > maxPorts:
		return fmt.Errorf("control: there are %d Ports, allowed are 1 to %d", len(q.Ports), maxPorts)
	case len(q.ClientAuth) > maxClients:
		return fmt.Errorf("control: ClientAuth has %d keys, allowed are up to %d", len(q.ClientAuth), maxClients)
	case (q.PoWRate != 0 || q.PoWBurst != 0) && !q.PoW:
		return fmt.Errorf("control: PoWRate is %d and PoWBurst %d, allowed only with PoW", q.PoWRate, q.PoWBurst)
	case q.CloseCircuit && q.MaxStreams == 0:
		return fmt.Errorf("control: CloseCircuit is set, allowed only with MaxStreams")
	}
	for _, n := range []struct {
		name   string
		v, max int
	}{{"MaxStreams", q.MaxStreams, 65535}, {"PoWRate", q.PoWRate, maxPoW}, {"PoWBurst", q.PoWBurst, maxPoW}} {
		if n.v < 0 || n.v > n.max {
			return fmt.Errorf("control: %s is %d, allowed are 0 to %d", n.name, n.v, n.max)
		}
	}
	for i, p := range q.Ports {
		if p.Virtual < 1 || p.Virtual > 65535 || strings.ContainsAny(p.Target, " \t\r\n\x00\",") {
			return fmt.Errorf("control: Ports[%d] is %d to %q, allowed are 1 to 65535 to an address without spaces, quotes and commas", i, p.Virtual, p.Target)
		}
	}
	for i, k := range q.ClientAuth {
		if b, err := base32NoPad.DecodeString(k); err != nil || len(b) != 32 {
			return fmt.Errorf("control: ClientAuth[%d] is %q, allowed are 32 bytes in base32", i, k)
		}
	}
	return nil
}

// maxPoW is the largest number that tor takes for the rate and burst of its queue of introductions (INT32_MAX).
const maxPoW = 1<<31 - 1

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// DelOnion removes a service. Its connections stay. *Error with CodeNotFound when there is none. Any goroutine.
func (c *Conn) DelOnion(ctx context.Context, serviceID string) error {
	if err := checkWord("service", serviceID); err != nil {
		return err
	}
	_, err := c.Command(ctx, "DEL_ONION "+serviceID)
	return err
}

var base32NoPad = base32.StdEncoding.WithPadding(base32.NoPadding)

// ClientKey lets a client connect to an onion service that asks for authorization (rend-spec-v3, appendix G).
type ClientKey struct {
	Private string // for AddClientAuth: base64 of an x25519 key. Secret.
	Public  string // for OnionRequest.ClientAuth: base32
}

// GenerateClientKey makes a key pair. Any goroutine.
func GenerateClientKey() (ClientKey, error) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return ClientKey{}, fmt.Errorf("control: %w", err)
	}
	return ClientKey{Private: base64.StdEncoding.EncodeToString(k.Bytes()), Public: base32NoPad.EncodeToString(k.PublicKey().Bytes())}, nil
}

// AddClientAuth gives tor the private key (ClientKey.Private) for an onion service, in place of one it may have. permanent keeps
// it on disk, for which tor needs a ClientOnionAuthDir. Any goroutine.
func (c *Conn) AddClientAuth(ctx context.Context, serviceID, private string, permanent bool) error {
	if err := checkWord("service", serviceID); err != nil {
		return err
	}
	if b, err := base64.StdEncoding.DecodeString(private); err != nil || len(b) != 32 {
		return fmt.Errorf("control: the private key is none, allowed are 32 bytes in base64")
	}
	line := "ONION_CLIENT_AUTH_ADD " + serviceID + " x25519:" + private
	if permanent {
		line += " Flags=Permanent"
	}
	_, err := c.Command(ctx, line)
	return err
}

// RemoveClientAuth has tor forget the key for an onion service; to have none is no error. Any goroutine.
func (c *Conn) RemoveClientAuth(ctx context.Context, serviceID string) error {
	if err := checkWord("service", serviceID); err != nil {
		return err
	}
	_, err := c.Command(ctx, "ONION_CLIENT_AUTH_REMOVE "+serviceID)
	return err
}
