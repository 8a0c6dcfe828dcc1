-- The macros of an exported file. DuckDB resolves the names in a macro where it is called, not where it was created, so
-- every name is qualified with "geo": a schema of the file, or the alias under which the file is attached. Arguments
-- are first put into a row with unusual column names: otherwise, names in an argument could refer to columns of the macro,
-- and an argument that is used several times would be evaluated several times.

-- H3, with the names and the order of arguments of DuckDB's H3 extension. From the highest bit, a cell has 8 bits that
-- mark it as a cell, 4 bits of resolution, 7 of base cell, and 15 digits of 3 bits, the coarsest first; unused digits
-- are 7.

CREATE MACRO $schema.h3_string_to_h3(text) AS
  TRY_CAST('0x' || regexp_extract(text::VARCHAR, '^(0[xX])?([0-9a-fA-F]{1,16})$$', 2) AS UBIGINT);

CREATE MACRO $schema._h3_res(cell) AS (cell >> 52) & 15;
CREATE MACRO $schema._h3_base(cell) AS (cell >> 45) & 127;
CREATE MACRO $schema._h3_digits(cell) AS (cell & '0x1fffffffffff'::UBIGINT) >> (45 - 3 * geo._h3_res(cell));
CREATE MACRO $schema._h3_unused(res) AS (1::UBIGINT << (45 - 3 * res)) - 1;

-- 0x1249249249249 has the lowest bit of every digit; it tests that no used digit is 7. A pentagon lacks a child: its
-- first nonzero digit is never 1, which is tested by the position of the highest bit.
CREATE MACRO $schema._h3_is_cell(cell) AS
  (cell >> 56) = 8
  AND geo._h3_base(cell) < 122
  AND (cell & geo._h3_unused(geo._h3_res(cell))) = geo._h3_unused(geo._h3_res(cell))
  AND (geo._h3_digits(cell) & (geo._h3_digits(cell) >> 1) & (geo._h3_digits(cell) >> 2) & '0x1249249249249'::UBIGINT) = 0
  AND NOT (geo._h3_base(cell) IN (4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117)
           AND geo._h3_digits(cell) > 0 AND length(bin(geo._h3_digits(cell))) % 3 = 1);

CREATE MACRO $schema._h3_number(cell) AS (
  SELECT CASE WHEN typeof(args._cell) = 'VARCHAR' THEN geo.h3_string_to_h3(args._cell)
         ELSE TRY_CAST(args._cell AS UBIGINT) END
  FROM (SELECT cell AS _cell) args);

CREATE MACRO $schema._h3_cell(cell) AS (
  SELECT CASE WHEN geo._h3_is_cell(args._cell) THEN args._cell END FROM (SELECT geo._h3_number(cell) AS _cell) args);

CREATE MACRO $schema._h3_parent(cell, res) AS (
  SELECT CASE WHEN args._res BETWEEN 0 AND geo._h3_res(args._cell)
    THEN (args._cell & '0xff0fffffffffffff'::UBIGINT) | (args._res << 52) | geo._h3_unused(args._res) END
  FROM (SELECT geo._h3_cell(cell) AS _cell, TRY_CAST(res AS UBIGINT) AS _res) args);

CREATE MACRO $schema.h3_get_resolution(cell) AS geo._h3_res(geo._h3_cell(cell))::INTEGER;

CREATE MACRO $schema.h3_h3_to_string(cell) AS lower(hex(geo._h3_cell(cell)));

CREATE MACRO $schema.h3_cell_to_parent(cell, res) AS geo._h3_parent(cell, res);

CREATE MACRO $schema.h3_cell_to_lat(cell) AS (
  SELECT c.lat FROM (SELECT geo._h3_number(cell) AS _cell) args, geo.centers c WHERE c.cell = args._cell);

CREATE MACRO $schema.h3_cell_to_lng(cell) AS (
  SELECT c.lon FROM (SELECT geo._h3_number(cell) AS _cell) args, geo.centers c WHERE c.cell = args._cell);

-- Steps: the nearest face; the coordinates of the point in its hexagonal lattice; the nearest lattice point, where of
-- three rounded coordinates with sum 0 the one with the largest rounding error follows from the others; and its cell.
CREATE MACRO $schema.h3_latlng_to_cell(lat, lng, res) AS (
  SELECT l.cell
  FROM
    (SELECT
       CASE WHEN lat BETWEEN -90 AND 90 THEN radians(lat::DOUBLE) END AS _phi,
       CASE WHEN lng BETWEEN -180 AND 360 THEN radians(lng::DOUBLE) END AS _theta,
       res AS _res) args,
    LATERAL (SELECT
       cos(args._phi) * cos(args._theta) AS x, cos(args._phi) * sin(args._theta) AS y, sin(args._phi) AS z) p,
    LATERAL (
       SELECT max(struct_pack(
         up := p.x * f.x + p.y * f.y + p.z * f.z,
         face := f.face,
         a := p.x * f.a_x + p.y * f.a_y + p.z * f.a_z,
         b := p.x * f.b_x + p.y * f.b_y + p.z * f.b_z)) AS face
       FROM geo.faces f WHERE f.odd = args._res % 2) nearest,
    LATERAL (SELECT
       sqrt(7) ** args._res * nearest.face.a / nearest.face.up AS a,
       sqrt(7) ** args._res * nearest.face.b / nearest.face.up AS b) place,
    LATERAL (SELECT round(place.a) AS a, round(place.b) AS b, round(-place.a - place.b) AS c) whole,
    LATERAL (SELECT
       abs(whole.a - place.a) AS a, abs(whole.b - place.b) AS b, abs(whole.c + place.a + place.b) AS c) off,
    geo.lattice l
  WHERE l.res = args._res AND l.face = nearest.face.face
    AND l.a = (CASE WHEN off.a > off.b AND off.a > off.c THEN -whole.b - whole.c ELSE whole.a END)::INTEGER
    AND l.b = (CASE WHEN off.b >= off.a AND off.b > off.c THEN -whole.a - whole.c ELSE whole.b END)::INTEGER);

-- Similarity.

CREATE MACRO $schema.satclip_cell(lon, lat, res := NULL) AS geo.h3_latlng_to_cell(lat, lon, coalesce(res, $finest));

CREATE MACRO $schema.satclip_embedding(cell) AS (
  SELECT c.embedding FROM (SELECT geo._h3_number(cell) AS _cell) args, geo.cells c WHERE c.cell = args._cell);

CREATE MACRO $schema.satclip_similarity(a, b) AS
  array_inner_product(a::FLOAT[$dim]::DOUBLE[$dim], b::FLOAT[$dim]::DOUBLE[$dim])::FLOAT;

CREATE MACRO $schema.satclip_percentile(similarity, res := NULL) AS (
  SELECT p.percentile + (args._similarity - p.low) * p.slope
  FROM (SELECT similarity::DOUBLE AS _similarity, coalesce(res, $finest) AS _res) args, geo.percentiles p
  WHERE p.res = args._res AND p.low <= args._similarity AND args._similarity < p.high);

-- Computed from the chord between two points of the unit sphere, which is precise at small distances.
CREATE MACRO $schema._chord(x1, y1, z1, x2, y2, z2) AS sqrt((x1 - x2) ** 2 + (y1 - y2) ** 2 + (z1 - z2) ** 2);
CREATE MACRO $schema._x(lon, lat) AS cos(radians(lat)) * cos(radians(lon));
CREATE MACRO $schema._y(lon, lat) AS cos(radians(lat)) * sin(radians(lon));
CREATE MACRO $schema._km(chord) AS 2 * $radius_km * asin(least(chord / 2, 1));
CREATE MACRO $schema.satclip_distance_km(lon1, lat1, lon2, lat2) AS (
  SELECT CASE WHEN a._lon1 BETWEEN -180 AND 360 AND a._lon2 BETWEEN -180 AND 360
      AND a._lat1 BETWEEN -90 AND 90 AND a._lat2 BETWEEN -90 AND 90
    THEN geo._km(geo._chord(
      geo._x(a._lon1, a._lat1), geo._y(a._lon1, a._lat1), sin(radians(a._lat1)),
      geo._x(a._lon2, a._lat2), geo._y(a._lon2, a._lat2), sin(radians(a._lat2)))) END
  FROM (SELECT lon1 AS _lon1, lat1 AS _lat1, lon2 AS _lon2, lat2 AS _lat2) a);

-- Every cell is compared. Then, for each result in turn, the best remaining cell is taken, and all cells too near to it
-- are removed. The number of cells that a result can remove is bounded by the number of disjoint disks, of half the
-- minimum cell spacing, that fit around it; only as many of the best cells as that requires are kept.
CREATE MACRO $schema.places_like(
  lon, lat, k := 10, res := NULL, exclude_within_km := 500, apart_km := 300, ocean := false
) AS TABLE
  WITH RECURSIVE args AS (
    SELECT CASE WHEN lon BETWEEN -180 AND 360 THEN lon::DOUBLE END AS _lon,
      CASE WHEN lat BETWEEN -90 AND 90 THEN lat::DOUBLE END AS _lat, k::BIGINT AS _k,
      CASE WHEN coalesce(res, $finest) IN ($held) THEN coalesce(res, $finest)
      ELSE error('This file holds resolution $held, not ' || res || '. Use one of these.') END AS _res,
      exclude_within_km::DOUBLE AS _exclude_within_km, apart_km::DOUBLE AS _apart_km, ocean::BOOLEAN AS _ocean
  ), rules AS (
    SELECT a.*, geo._x(a._lon, a._lat) AS x, geo._y(a._lon, a._lat) AS y, sin(radians(a._lat)) AS z,
      geo.h3_latlng_to_cell(a._lat, a._lon, a._res) AS cell,
      $spacing_km / sqrt(7) ** a._res / $radius_km AS spacing_rad, a._apart_km / $radius_km AS apart_rad
    FROM args a
  ), example AS (
    SELECT r.*, c.embedding::DOUBLE[$dim] AS embedding,
      CASE WHEN r.apart_rad > pi() THEN 3 ELSE 2 * sin(r.apart_rad / 2) END AS apart_chord,
      CASE WHEN r.apart_rad > 0 THEN
        1 + (r._k - 1) * ceil((sin(least(r.apart_rad + r.spacing_rad / 2, pi()) / 2) / sin(r.spacing_rad / 4)) ** 2)
      ELSE r._k END AS enough
    FROM rules r, geo.cells c WHERE c.cell = r.cell
  ), compared AS (
    SELECT c.cell, c.lon, c.lat, c.land, array_inner_product(c.embedding::DOUBLE[$dim], e.embedding)::FLOAT AS similarity,
      geo._km(geo._chord(geo._x(c.lon, c.lat), geo._y(c.lon, c.lat), sin(radians(c.lat)), e.x, e.y, e.z)) AS distance_km,
      e._k AS k, e._exclude_within_km AS exclude_within_km, e._res AS res, e.enough, e.apart_chord
    -- An equality would become a hash join, which copies the embedding of the example for every cell.
    FROM geo.cells c, example e WHERE CASE c.res WHEN e._res THEN c.land OR e._ocean END
  ), best AS (
    SELECT c.*, geo._x(c.lon, c.lat) AS x, geo._y(c.lon, c.lat) AS y, sin(radians(c.lat)) AS z,
      row_number() OVER (ORDER BY c.similarity DESC, c.cell) AS place
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
