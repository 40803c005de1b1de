package pgfacts

import (
	pg_query "github.com/pganalyze/pg_query_go/v6"
)

// columnName is what PostgreSQL calls a result column without an alias
// (FigureColname in parse_target.c).
func columnName(n *pg_query.Node) string {
	if name, _ := figureName(n); name != "" {
		return name
	}
	return "?column?"
}

// figureName also says how strongly the name is meant: 2 for a name, 1 for a
// type's name, 0 for none.
func figureName(n *pg_query.Node) (string, int) {
	switch {
	case n == nil || n.Node == nil:
		return "", 0
	case n.GetColumnRef() != nil:
		if parts := names(n.GetColumnRef().Fields); len(parts) > 0 {
			return parts[len(parts)-1], 2
		}
	case n.GetAIndirection() != nil:
		if parts := names(n.GetAIndirection().Indirection); len(parts) > 0 {
			return parts[len(parts)-1], 2
		}
		return figureName(n.GetAIndirection().Arg)
	case n.GetFuncCall() != nil:
		_, name := splitName(n.GetFuncCall().Funcname)
		return name, 2
	case n.GetAExpr() != nil:
		if n.GetAExpr().Kind == pg_query.A_Expr_Kind_AEXPR_NULLIF {
			return "nullif", 2
		}
	case n.GetTypeCast() != nil:
		if name, strong := figureName(n.GetTypeCast().Arg); strong == 2 {
			return name, strong
		}
		_, name := splitName(n.GetTypeCast().TypeName.GetNames())
		return name, 1
	case n.GetCollateClause() != nil:
		return figureName(n.GetCollateClause().Arg)
	case n.GetSubLink() != nil:
		return sublinkName(n.GetSubLink())
	case n.GetCaseExpr() != nil:
		if name, strong := figureName(n.GetCaseExpr().Defresult); strong == 2 {
			return name, strong
		}
		return "case", 1
	case n.GetMinMaxExpr() != nil:
		if n.GetMinMaxExpr().Op == pg_query.MinMaxOp_IS_GREATEST {
			return "greatest", 2
		}
		return "least", 2
	case n.GetSqlvalueFunction() != nil:
		return sqlValueName(n.GetSqlvalueFunction().Op), 2
	case n.GetXmlExpr() != nil:
		return xmlName(n.GetXmlExpr()), 2
	}
	return fixedName(n)
}

func fixedName(n *pg_query.Node) (string, int) {
	switch {
	case n.GetGroupingFunc() != nil:
		return "grouping", 2
	case n.GetMergeSupportFunc() != nil:
		return "merge_action", 2
	case n.GetAArrayExpr() != nil:
		return "array", 2
	case n.GetRowExpr() != nil:
		return "row", 2
	case n.GetCoalesceExpr() != nil:
		return "coalesce", 2
	case n.GetXmlSerialize() != nil:
		return "xmlserialize", 2
	case n.GetJsonParseExpr() != nil:
		return "json", 2
	case n.GetJsonScalarExpr() != nil:
		return "json_scalar", 2
	case n.GetJsonSerializeExpr() != nil:
		return "json_serialize", 2
	case n.GetJsonObjectConstructor() != nil:
		return "json_object", 2
	case n.GetJsonArrayConstructor() != nil, n.GetJsonArrayQueryConstructor() != nil:
		return "json_array", 2
	case n.GetJsonObjectAgg() != nil:
		return "json_objectagg", 2
	case n.GetJsonArrayAgg() != nil:
		return "json_arrayagg", 2
	}
	return "", 0
}

func sublinkName(s *pg_query.SubLink) (string, int) {
	switch s.SubLinkType {
	case pg_query.SubLinkType_EXISTS_SUBLINK:
		return "exists", 2
	case pg_query.SubLinkType_ARRAY_SUBLINK:
		return "array", 2
	case pg_query.SubLinkType_EXPR_SUBLINK:
		sel := s.Subselect.GetSelectStmt()
		for sel.GetLarg() != nil {
			sel = sel.Larg
		}
		if len(sel.GetValuesLists()) > 0 {
			return "column1", 2
		}
		if list := sel.GetTargetList(); len(list) > 0 {
			t := list[0].GetResTarget()
			if t.GetName() != "" {
				return t.Name, 2
			}
			return columnName(t.GetVal()), 2
		}
	}
	return "", 0
}

func sqlValueName(op pg_query.SQLValueFunctionOp) string {
	switch op {
	case pg_query.SQLValueFunctionOp_SVFOP_CURRENT_DATE:
		return "current_date"
	case pg_query.SQLValueFunctionOp_SVFOP_CURRENT_TIME, pg_query.SQLValueFunctionOp_SVFOP_CURRENT_TIME_N:
		return "current_time"
	case pg_query.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP, pg_query.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP_N:
		return "current_timestamp"
	case pg_query.SQLValueFunctionOp_SVFOP_LOCALTIME, pg_query.SQLValueFunctionOp_SVFOP_LOCALTIME_N:
		return "localtime"
	case pg_query.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP, pg_query.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP_N:
		return "localtimestamp"
	case pg_query.SQLValueFunctionOp_SVFOP_CURRENT_ROLE:
		return "current_role"
	case pg_query.SQLValueFunctionOp_SVFOP_CURRENT_USER:
		return "current_user"
	case pg_query.SQLValueFunctionOp_SVFOP_USER:
		return "user"
	case pg_query.SQLValueFunctionOp_SVFOP_SESSION_USER:
		return "session_user"
	case pg_query.SQLValueFunctionOp_SVFOP_CURRENT_CATALOG:
		return "current_catalog"
	case pg_query.SQLValueFunctionOp_SVFOP_CURRENT_SCHEMA:
		return "current_schema"
	}
	return ""
}

func xmlName(x *pg_query.XmlExpr) string {
	switch x.Op {
	case pg_query.XmlExprOp_IS_XMLCONCAT:
		return "xmlconcat"
	case pg_query.XmlExprOp_IS_XMLELEMENT:
		return "xmlelement"
	case pg_query.XmlExprOp_IS_XMLFOREST:
		return "xmlforest"
	case pg_query.XmlExprOp_IS_XMLPARSE:
		return "xmlparse"
	case pg_query.XmlExprOp_IS_XMLPI:
		return "xmlpi"
	case pg_query.XmlExprOp_IS_XMLROOT:
		return "xmlroot"
	}
	return ""
}
