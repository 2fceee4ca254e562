-- A test passes when it gives no row: every issuer of the rates is in the curated table, once.
SELECT issuer, count(*) AS times FROM markets.issuers GROUP BY issuer HAVING count(*) > 1
UNION ALL
SELECT DISTINCT issuer, 0 FROM markets.rates__now WHERE issuer NOT IN (SELECT issuer FROM markets.issuers)
