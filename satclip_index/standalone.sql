-- The macros of a file that stands alone. A macro looks tables and other macros up from where it is called, not from
-- where it was made, so every name here says "geo": the schema that the file has, or the alias that it is attached by.
-- What is asked is put into a row of its own before a table comes in: a caller's name could otherwise be taken for a
-- column of ours.

-- H3, with the names and the order of arguments of DuckDB's H3 extension. A cell is, from the highest bit: 8 bits that
-- say so, 4 of resolution, 7 of base cell, and 15 digits of 3 bits, the coarsest first; digits not in use are 7.

CREATE MACRO $schema.h3_string_to_h3(text) AS
  TRY_CAST('0x' || regexp_extract(text::VARCHAR, '^(0[xX])?([0-9a-fA-F]{1,16})$$', 2) AS UBIGINT);

CREATE MACRO $schema._h3_res(cell) AS (cell >> 52) & 15;
CREATE MACRO $schema._h3_base(cell) AS (cell >> 45) & 127;
CREATE MACRO $schema._h3_digits(cell) AS (cell & '0x1fffffffffff'::UBIGINT) >> (45 - 3 * geo._h3_res(cell));
CREATE MACRO $schema._h3_unused(res) AS (1::UBIGINT << (45 - 3 * res)) - 1;

-- 0x1249249249249 has the lowest bit of every digit: none in use is 7. A pentagon lacks a child: the first digit that
-- is not 0 is not 1 there, which is where its highest bit is the lowest one of its digit.
CREATE MACRO $schema._h3_is_cell(cell) AS
  (cell >> 56) = 8
  AND geo._h3_base(cell) < 122
  AND (cell & geo._h3_unused(geo._h3_res(cell))) = geo._h3_unused(geo._h3_res(cell))
  AND (geo._h3_digits(cell) & (geo._h3_digits(cell) >> 1) & (geo._h3_digits(cell) >> 2) & '0x1249249249249'::UBIGINT) = 0
  AND NOT (geo._h3_base(cell) IN (4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117)
           AND geo._h3_digits(cell) > 0 AND length(bin(geo._h3_digits(cell))) % 3 = 1);

CREATE MACRO $schema._h3_number(cell) AS
  CASE WHEN typeof(cell) = 'VARCHAR' THEN geo.h3_string_to_h3(cell) ELSE TRY_CAST(cell AS UBIGINT) END;

CREATE MACRO $schema._h3_cell(cell) AS CASE WHEN geo._h3_is_cell(geo._h3_number(cell)) THEN geo._h3_number(cell) END;

CREATE MACRO $schema._h3_parent(cell, res) AS
  CASE WHEN res BETWEEN 0 AND geo._h3_res(cell)
  THEN (cell & '0xff0fffffffffffff'::UBIGINT) | (res::UBIGINT << 52) | geo._h3_unused(res::UBIGINT) END;

CREATE MACRO $schema.h3_get_resolution(cell) AS geo._h3_res(geo._h3_cell(cell))::INTEGER;

CREATE MACRO $schema.h3_h3_to_string(cell) AS lower(hex(geo._h3_cell(cell)));

CREATE MACRO $schema.h3_cell_to_parent
  (cell UBIGINT, res) AS geo._h3_parent(geo._h3_cell(cell), res),
  (cell BIGINT, res) AS geo._h3_parent(geo._h3_cell(cell), res)::BIGINT,
  (cell VARCHAR, res) AS lower(hex(geo._h3_parent(geo._h3_cell(cell), res)));

CREATE MACRO $schema.h3_cell_to_lat(cell) AS (
  SELECT c.lat FROM (SELECT geo._h3_number(cell) AS cell) asked, geo.centers c WHERE c.cell = asked.cell);

CREATE MACRO $schema.h3_cell_to_lng(cell) AS (
  SELECT c.lon FROM (SELECT geo._h3_number(cell) AS cell) asked, geo.centers c WHERE c.cell = asked.cell);

-- The nearest face; there, the point's coordinates in the hexagonal lattice; the lattice point nearest to it: of three
-- coordinates whose sum is 0 the one that is farthest from a whole number follows from the others; its cell.
CREATE MACRO $schema.h3_latlng_to_cell(lat, lng, res) AS (
  SELECT l.cell
  FROM
    (SELECT
       CASE WHEN lat BETWEEN -90 AND 90 THEN radians(lat::DOUBLE) END AS phi,
       CASE WHEN lng BETWEEN -180 AND 360 THEN radians(lng::DOUBLE) END AS theta,
       res AS res) asked,
    LATERAL (SELECT
       cos(asked.phi) * cos(asked.theta) AS x, cos(asked.phi) * sin(asked.theta) AS y, sin(asked.phi) AS z) p,
    LATERAL (
       SELECT max(struct_pack(
         up := p.x * f.x + p.y * f.y + p.z * f.z,
         face := f.face,
         a := p.x * f.a_x + p.y * f.a_y + p.z * f.a_z,
         b := p.x * f.b_x + p.y * f.b_y + p.z * f.b_z)) AS face
       FROM geo.faces f WHERE f.odd = asked.res % 2) nearest,
    LATERAL (SELECT
       sqrt(7) ** asked.res * nearest.face.a / nearest.face.up AS a,
       sqrt(7) ** asked.res * nearest.face.b / nearest.face.up AS b) place,
    LATERAL (SELECT round(place.a) AS a, round(place.b) AS b, round(-place.a - place.b) AS c) whole,
    LATERAL (SELECT
       abs(whole.a - place.a) AS a, abs(whole.b - place.b) AS b, abs(whole.c + place.a + place.b) AS c) off,
    geo.lattice l
  WHERE l.res = asked.res AND l.face = nearest.face.face
    AND l.a = (CASE WHEN off.a > off.b AND off.a > off.c THEN -whole.b - whole.c ELSE whole.a END)::INTEGER
    AND l.b = (CASE WHEN off.b >= off.a AND off.b > off.c THEN -whole.a - whole.c ELSE whole.b END)::INTEGER);

-- Similarity.

CREATE MACRO $schema.satclip_cell(lon, lat, res := NULL) AS geo.h3_latlng_to_cell(lat, lon, coalesce(res, $finest));

CREATE MACRO $schema.satclip_embedding(cell) AS (
  SELECT c.embedding FROM (SELECT geo._h3_number(cell) AS cell) asked, geo.cells c WHERE c.cell = asked.cell);

CREATE MACRO $schema.satclip_similarity(a, b) AS
  array_inner_product(a::FLOAT[$dim]::DOUBLE[$dim], b::FLOAT[$dim]::DOUBLE[$dim])::FLOAT;

CREATE MACRO $schema.satclip_percentile(similarity, res := NULL) AS (
  SELECT p.percentile + (asked.similarity - p.low) * p.slope
  FROM (SELECT similarity::DOUBLE AS similarity, coalesce(res, $finest) AS res) asked, geo.percentiles p
  WHERE p.res = asked.res AND p.low <= asked.similarity AND asked.similarity < p.high);

-- From the chord between two points of the unit sphere, which keeps its digits at small distances.
CREATE MACRO $schema._chord(x1, y1, z1, x2, y2, z2) AS sqrt((x1 - x2) ** 2 + (y1 - y2) ** 2 + (z1 - z2) ** 2);
CREATE MACRO $schema._x(lon, lat) AS cos(radians(lat)) * cos(radians(lon));
CREATE MACRO $schema._y(lon, lat) AS cos(radians(lat)) * sin(radians(lon));
CREATE MACRO $schema._km(chord) AS 2 * $radius_km * asin(least(chord / 2, 1));
CREATE MACRO $schema.satclip_distance_km(lon1, lat1, lon2, lat2) AS
  CASE WHEN lon1 BETWEEN -180 AND 360 AND lon2 BETWEEN -180 AND 360
    AND lat1 BETWEEN -90 AND 90 AND lat2 BETWEEN -90 AND 90
  THEN geo._km(geo._chord(
    geo._x(lon1, lat1), geo._y(lon1, lat1), sin(radians(lat1)),
    geo._x(lon2, lat2), geo._y(lon2, lat2), sin(radians(lat2)))) END;

-- Every cell is compared. Then, once for each answer, the best of those that are left is taken, and with it all that are
-- too near to it. Of an answer's disk no more cells can be in the way than disks of half their least spacing fit into
-- it: so many of the best are enough, and the others are let go at once.
CREATE MACRO $schema.places_like(
  lon, lat, k := 10, res := NULL, exclude_within_km := 500, apart_km := 300, ocean := false
) AS TABLE
  WITH RECURSIVE asked AS (
    SELECT lon::DOUBLE AS lon, lat::DOUBLE AS lat, coalesce(res, $finest) AS res, k::BIGINT AS k,
      exclude_within_km::DOUBLE AS exclude_within_km, apart_km::DOUBLE AS apart_km, ocean::BOOLEAN AS ocean
  ), rules AS (
    SELECT a.*, geo._x(a.lon, a.lat) AS x, geo._y(a.lon, a.lat) AS y, sin(radians(a.lat)) AS z,
      geo.h3_latlng_to_cell(a.lat, a.lon, a.res) AS cell,
      $spacing_km / sqrt(7) ** a.res / $radius_km AS spacing_rad, a.apart_km / $radius_km AS apart_rad
    FROM asked a
  ), example AS (
    SELECT r.*, c.embedding::DOUBLE[$dim] AS embedding,
      CASE WHEN r.apart_rad > pi() THEN 3 ELSE 2 * sin(r.apart_rad / 2) END AS apart_chord,
      CASE WHEN r.apart_rad > 0 THEN
        1 + (r.k - 1) * ceil((sin(least(r.apart_rad + r.spacing_rad / 2, pi()) / 2) / sin(r.spacing_rad / 4)) ** 2)
      ELSE r.k END AS enough
    FROM rules r, geo.cells c WHERE c.cell = r.cell
  ), compared AS (
    SELECT c.cell, c.lon, c.lat, c.land, geo._x(c.lon, c.lat) AS x, geo._y(c.lon, c.lat) AS y,
      sin(radians(c.lat)) AS z, array_inner_product(c.embedding::DOUBLE[$dim], e.embedding)::FLOAT AS similarity,
      geo._km(geo._chord(geo._x(c.lon, c.lat), geo._y(c.lon, c.lat), sin(radians(c.lat)), e.x, e.y, e.z)) AS distance_km,
      e.k, e.enough, e.exclude_within_km, e.apart_chord, e.res
    FROM geo.cells c, example e WHERE c.res = e.res AND (c.land OR e.ocean)
  ), best AS (
    SELECT c.*, row_number() OVER (ORDER BY c.similarity DESC, c.cell) AS place
    FROM compared c WHERE c.distance_km >= c.exclude_within_km
    QUALIFY place <= c.enough
  ), left_over AS (
    SELECT 1::BIGINT AS rank, b.place, b.x, b.y, b.z, b.k, b.apart_chord FROM best b WHERE b.k > 0
    UNION ALL
    SELECT l.rank + 1, l.place, l.x, l.y, l.z, l.k, l.apart_chord
    FROM left_over l, (SELECT arg_min(struct_pack(place := m.place, x := m.x, y := m.y, z := m.z), m.place) AS taken
                       FROM left_over m) t
    WHERE l.rank < l.k AND l.place > t.taken.place
      AND geo._chord(l.x, l.y, l.z, t.taken.x, t.taken.y, t.taken.z) >= l.apart_chord
  ), answers AS (
    SELECT l.rank, min(l.place) AS place FROM left_over l GROUP BY l.rank
  )
  SELECT a.rank, b.cell, b.lon, b.lat, b.land, b.similarity, geo.satclip_percentile(b.similarity, b.res) AS percentile,
    b.distance_km
  FROM answers a, best b WHERE b.place = a.place ORDER BY a.rank;
