-- A test is a query that must find nothing. `forebay test` runs every file in this folder.
-- Each earthquake is there once:
SELECT id, count(*) AS copies FROM quakes.events GROUP BY id HAVING count(*) > 1;
