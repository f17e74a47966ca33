// Package certs looks after what package tls is given: certificates and their keys, OCSP staples and session ticket keys. A
// [Store] loads them, notices when their files change, and swaps them atomically; established connections never notice, new
// ones use what is in force when their ClientHello arrives. Package tls itself has no files, clocks or goroutines, and does
// not know this package.
//
//	store, err := certs.New(certs.Config{Pairs: []certs.Pair{{CertFile: "tls.crt", KeyFile: "tls.key"}}})
//	server, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{GetCertificate: store.GetCertificate}})
//	err = store.Attach(server) // ticket keys
//	go store.Run(ctx)
//
// server serves TLS connections and, through its method QUIC, QUIC listeners.
//
// # What a change of files does
//
// Run reads every file at each interval and compares contents, so writes in place, renames and swaps of symbolic links (as
// Kubernetes makes them) are all seen, whatever the file system says about times. A pair is checked as a whole: syntax, key
// against certificate, validity, usage, permissions. A pair that fails keeps the certificate it has, is reported once per
// cause, and is tried again at each interval: that also covers the moment between the writing of a certificate and that of
// its key. At start there is nothing to keep, so New refuses a pair that fails, including a certificate that has expired or
// is not valid yet. One that expires while in use is sent on: a client that refuses it gives a better reason than a server
// without a certificate.
//
// # Permissions
//
// Key files and ticket key files must belong to root or to the user of this process and must not be readable or writable by
// group or others; that is judged on the opened descriptor, after symbolic links. Their directory, and that of each link on
// the way, must not be writable by others, since whoever can replace a ticket key file with known keys can resume sessions as
// this server; with the sticky bit it may be, if the file, or the link, is owned by root or this process. Directories further
// up, and group-writable ones, are not judged.
//
// # Staples
//
// The responder is asked with POST, and with GET when it answers POST with an HTTP error, through the environment's proxy
// (HTTP_PROXY) if there is one; redirects are followed on the same host only. Its address comes from the configuration or the
// certificate, so it may be a private one. An answer counts when it is signed, with SHA-256 or better, by the issuer, or by a
// certificate that the issuer has made for OCSP signing, names that signer, is about this certificate of this issuer, and is
// valid now and until a nextUpdate that it must name; an answer older than the one in use is refused. Requests carry no nonce:
// a staple is shared by all clients, so its times are what bounds a replay. It is renewed halfway to its end, at least daily,
// with a random tenth either way; after failures with a pause that doubles from a minute to an hour. It is dropped five
// minutes before nextUpdate, or before the end of its signer's certificate. "good" and "revoked" are stapled: a client that asks has a right to know, and hiding a revocation would help
// nobody but the thief of the key. "unknown" counts as a failure.
//
// # Ticket keys
//
// See [Tickets] and [ParseTicketFile]. TLS 1.3 resumption here always includes a key exchange (psk_dhe_ke), so a stolen
// ticket key decrypts no recorded traffic; it does let its thief resume, and so impersonate, until clients' tickets under it
// have expired. Hence the rotation and the bound on how many keys are kept. After a rotation the other nodes refuse tickets
// of the new key until their next look at the file; such a client shakes hands in full and notices nothing else.
package certs
